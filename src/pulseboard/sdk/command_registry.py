"""The registered commands of a service, their handlers and arguments.

Any thread adds handlers, and the thread that receives commands finds them. The dict is replaced,
never changed, so neither needs a lock.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_type_hints

import msgspec

from pulseboard.wire.errors import ConfigError, InvalidName
from pulseboard.wire.names import check_command_name

Handler = Callable[..., Any]

MAX_COMMANDS = 50
"""Commands of one service. A person chooses from this list on the page, so it must stay short."""
DESCRIPTION_MAX = 200


class RegisteredCommand(NamedTuple):
    """A command: its handler, its description, and the struct that its arguments form."""

    handler: Handler
    description: str
    arguments: type[msgspec.Struct]

    def parse_args(self, args: bytes) -> dict[str, Any]:
        """Return the arguments in the types of the handler; raise ValueError if they do not fit."""
        return msgspec.structs.asdict(msgspec.json.decode(args, type=self.arguments))


class CommandRegistry:
    """The commands of one service, by name."""

    def __init__(self) -> None:
        self._commands: Mapping[str, RegisteredCommand] = {}

    def __bool__(self) -> bool:
        return bool(self._commands)

    @property
    def names(self) -> list[str]:
        """The names of all commands, sorted."""
        return sorted(self._commands)

    def add(self, name: str, handler: Handler, description: str | None = None) -> None:
        """Register a command, in the place of one with the same name.

        The description defaults to the first line of the handler's docstring. Raises ConfigError if
        the name is invalid, if the arguments cannot be described as JSON, or at the limit of 50
        commands.
        """
        try:
            check_command_name(name)
        except (InvalidName, TypeError) as error:
            raise ConfigError(str(error)) from error
        if name not in self._commands and len(self._commands) >= MAX_COMMANDS:
            raise ConfigError(f"a service registers at most {MAX_COMMANDS} commands")
        if description is None:
            description = (inspect.getdoc(handler) or "").split("\n")[0]
        command = RegisteredCommand(
            handler, description[:DESCRIPTION_MAX], _make_arguments(name, handler)
        )
        self._commands = {**self._commands, name: command}

    def find(self, name: str) -> RegisteredCommand | None:
        """Return the command of this name; None if there is none."""
        return self._commands.get(name)

    def describe(self, run: str, since: str) -> bytes:
        """Return as JSON which commands a run of the service listens for.

        It contains the description of each command and the JSON Schema of its arguments. The run
        receives the commands after the entry `since` of the command stream.
        """
        commands = {
            name: {
                "description": command.description,
                "args": msgspec.json.schema(command.arguments),
            }
            for name, command in sorted(self._commands.items())
        }
        return msgspec.json.encode({"run": run, "since": since, "commands": commands})


def _make_arguments(name: str, handler: Handler) -> type[msgspec.Struct]:
    """Return a struct of the parameters of a handler; raise ConfigError if there can be none."""
    if not callable(handler):
        raise ConfigError(
            f"the handler of the command {name!r} must be a function, not {handler!r:.80}"
        )
    try:
        hints = get_type_hints(handler, include_extras=True)
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError, NameError) as error:
        raise ConfigError(
            f"the arguments of the command {name!r} cannot be read: {error}"
        ) from error
    fields: list[Any] = []
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(
                f"the arguments of the command {name!r} are passed by name, which {parameter} does"
                " not allow; use ordinary parameters"
            )
        field: tuple[Any, ...] = (parameter.name, hints.get(parameter.name, Any))
        fields.append(
            field if parameter.default is parameter.empty else (*field, _default(parameter.default))
        )
    try:
        struct = msgspec.defstruct(f"Args_{name}", fields, kw_only=True, forbid_unknown_fields=True)
        msgspec.json.schema(struct)
        msgspec.json.Decoder(struct)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the arguments of the command {name!r} cannot be described as JSON: {error}"
        ) from error
    return struct


def _default(value: Any) -> Any:
    # Unlike a function, a struct does not accept a mutable object as a default.
    return (
        msgspec.field(default_factory=lambda: value)
        if isinstance(value, dict | list | set)
        else value
    )
