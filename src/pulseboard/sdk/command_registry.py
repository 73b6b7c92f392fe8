"""What a service offers to do when it is told to: its handlers, and what arguments each takes.

Handlers are added from any thread; the thread that listens looks them up. The dict is replaced, never changed.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_type_hints

import msgspec

from pulseboard.wire.errors import ConfigError, InvalidName
from pulseboard.wire.names import check_command_name

Handler = Callable[..., Any]

MOST = 50
"""So many commands of one service: they are names on a page, of which somebody is to choose one."""
DESCRIPTION_MAX = 200


class RegisteredCommand(NamedTuple):
    """One command: who does it, what it says of itself, and the struct that its arguments make."""

    handler: Handler
    description: str
    takes: type[msgspec.Struct]

    def read_args(self, args: bytes) -> dict[str, Any]:
        """Return the arguments by name, each of the type that the handler asks for; raise ValueError for others."""
        return msgspec.structs.asdict(msgspec.json.decode(args, type=self.takes))


class CommandRegistry:
    """The commands of one service, by name."""

    def __init__(self) -> None:
        self._offers: Mapping[str, RegisteredCommand] = {}

    def __bool__(self) -> bool:
        return bool(self._offers)

    @property
    def names(self) -> list[str]:
        return sorted(self._offers)

    def add(self, name: str, handler: Handler, description: str | None = None) -> None:
        """Offer a command, in the place of one of that name. Raises ConfigError for what cannot be one."""
        try:
            check_command_name(name)
        except (InvalidName, TypeError) as error:
            raise ConfigError(str(error)) from error
        if name not in self._offers and len(self._offers) >= MOST:
            raise ConfigError(f"a service offers at most {MOST} commands")
        told = (
            description
            if description is not None
            else (inspect.getdoc(handler) or "").split("\n")[0]
        )
        offer = RegisteredCommand(handler, told[:DESCRIPTION_MAX], _takes(name, handler))
        self._offers = {**self._offers, name: offer}

    def find(self, name: str) -> RegisteredCommand | None:
        """Return what is offered by that name."""
        return self._offers.get(name)

    def describe(self, run: str, since: str) -> bytes:
        """Return as JSON what is offered by a run, which listens since an entry of the commands' stream.

        That is for each command its description and the JSON Schema of its arguments.
        """
        commands = {
            name: {"description": offer.description, "args": msgspec.json.schema(offer.takes)}
            for name, offer in sorted(self._offers.items())
        }
        return msgspec.json.encode({"run": run, "since": since, "commands": commands})


def _takes(name: str, handler: Handler) -> type[msgspec.Struct]:
    if not callable(handler):
        raise ConfigError(f"what does the command {name!r} is a function, not {handler!r:.80}")
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
                f"the command {name!r} takes its arguments by name, which {parameter} has not"
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
            f"the arguments of the command {name!r} cannot be told as JSON: {error}"
        ) from error
    return struct


def _default(value: Any) -> Any:
    # A struct does not take what may be changed as a default, and a handler may.
    return (
        msgspec.field(default_factory=lambda: value)
        if isinstance(value, dict | list | set)
        else value
    )
