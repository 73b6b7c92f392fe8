"""Command lines of the demo's programs: options from settings structs, and exit codes.

A wrong command line ends with one line on standard error and exit code 2.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, NoReturn

import msgspec
import typer
from typer.exceptions import TyperException

USAGE = 2


class OptionGroup(NamedTuple):
    """A settings struct whose fields become options and environment variables."""

    defaults: msgspec.Struct
    env_prefix: str
    """The variable of a field is this prefix followed by the field's name in capitals."""
    env_names: Mapping[str, str] = MappingProxyType({})
    """Variables, by field, that do not follow the prefix."""

    def parameters(self) -> Iterator[inspect.Parameter]:
        """Yield one Typer parameter per field; `msgspec.Meta` of a field holds its help text."""
        hints = typing.get_type_hints(type(self.defaults), include_extras=True)
        for field in msgspec.structs.fields(self.defaults):
            hint, about = hints[field.name], None
            if typing.get_origin(hint) is Annotated:
                hint, meta = typing.get_args(hint)
                about = meta.description
            option = typer.Option(
                f"--{field.name.replace('_', '-')}",
                envvar=self.env_names.get(field.name, self.env_prefix + field.name.upper()),
                help=about,
            )
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(self.defaults, field.name),
                annotation=Annotated[hint, option],
            )

    def create(self, values: Mapping[str, object]) -> msgspec.Struct:
        """Create the settings from parsed options; raises ValueError when they are invalid."""
        names = (field.name for field in msgspec.structs.fields(self.defaults))
        settings: msgspec.Struct = type(self.defaults)(**{name: values[name] for name in names})
        return settings


def create_command(
    name: str, run: Callable[..., None], *groups: OptionGroup
) -> Callable[..., None]:
    """Create a Typer command that calls `run` with one settings struct per group."""

    def command(**values: object) -> None:
        try:
            settings = [group.create(values) for group in groups]
        except ValueError as error:
            exit_with_error(name, error)
        run(*settings)

    parameters = [parameter for group in groups for parameter in group.parameters()]
    dynamic: Any = command
    dynamic.__signature__ = inspect.Signature(parameters)
    return command


def run_command(app: typer.Typer, name: str) -> NoReturn:
    """Run a program with the arguments of this process and exit."""
    try:
        code = app(prog_name=name, standalone_mode=False)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print_error(name, message)
        code = USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def exit_with_error(name: str, reason: object, code: int = USAGE) -> NoReturn:
    """End a command that cannot run, from inside the command."""
    print_error(name, str(reason))
    raise typer.Exit(code)


def print_error(name: str, reason: str) -> None:
    """Print the reason of a failure as one line on standard error."""
    print(f"{name}: {' '.join(reason.split())}", file=sys.stderr)
