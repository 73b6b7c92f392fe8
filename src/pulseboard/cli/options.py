"""Makes a flag of each field of `Settings`, with its type, help and environment variable."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape

from pulseboard.server.settings import Settings


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command(settings, …)` a flag for each field, before its own parameters."""
    taken = list(inspect.signature(command).parameters.values())[1:]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in taken]
    flags = [_flag(name) for name in Settings.model_fields]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings = Settings.load(**{name: given.pop(name) for name in Settings.model_fields})
        command(settings, **given)

    run.__signature__ = inspect.Signature([*flags, *own])  # type: ignore[attr-defined]
    # Typer reads the annotations too, and has no flag for the parameter `settings`.
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*flags, *own)}
    return run


def _flag(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    variable = "REDIS_URL" if name == "redis_url" else f"PULSEBOARD_{name.upper()}"
    default = (
        field.default
        if name not in ("expect", "data_dir")
        else {"expect": "none", "data_dir": "your data folder"}[name]
    )
    shown = f"{field.description} [env: {variable}]" + (
        f" [default: {default}]" if default not in (None, False) else ""
    )
    kind: Any = {bool: bool, int: int, float: float, Path: Path}.get(
        cast("type", field.annotation), str
    )
    option = typer.Option(f"--{name.replace('_', '-')}", help=escape(shown), show_default=False)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as environment variables for a child process, with flag values."""
    values = settings.model_dump(mode="json", exclude_none=True, exclude={"redis_url"}) | {
        "expect": ",".join(settings.expect)
    }
    environment = {f"PULSEBOARD_{name.upper()}": str(value) for name, value in values.items()}
    return environment | {"REDIS_URL": settings.address.url}
