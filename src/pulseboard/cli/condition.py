"""Conditions as `pulseboard wait` takes them: `SERVICE=alive[,field=value…]`."""

import re
from typing import Any, NamedTuple

import msgspec

from pulseboard.cli.board_mirror import InstanceSeen
from pulseboard.wire.errors import ConfigError, InvalidName
from pulseboard.wire.names import check_service_name
from pulseboard.wire.state import State

_NEXT_FIELD = re.compile(r",(?=[^,=]+=)")
_ABSENT = object()


class Condition(NamedTuple):
    """That one instance of a service is in a state, and its status has these values; or that there is none (`missing`)."""

    text: str
    service: str
    state: State
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read one; raise ConfigError."""
        first, *more = _NEXT_FIELD.split(text)
        service, found, state = first.partition("=")
        if not found or state not in [*State]:
            raise ConfigError(
                f"a condition is SERVICE=STATE[,field=value], with {', '.join(State)} as STATE, not {text[:80]!r}"
            )
        try:
            check_service_name(service)
        except InvalidName as error:
            raise ConfigError(str(error)) from error
        fields = tuple((name, value) for name, _, value in (each.partition("=") for each in more))
        return cls(text, service, State(state), fields)

    def held_by(self, instances: list[InstanceSeen]) -> str | None:
        """Return which of these instances of the service it holds for, the first of them; None: for none."""
        if self.state is State.MISSING and not self.fields:
            gone = all(each.state is State.MISSING for each in instances)
            return "nobody" if gone else None
        for each in instances:
            if each.state is self.state and all(
                _is(find(each.status, path), value) for path, value in self.fields
            ):
                return each.instance or "-"
        return None

    def describe(self, instances: list[InstanceSeen]) -> str:
        """Say in a few words how near it is: of the nearest instance, the state and the fields that are asked for."""
        if not instances:
            return "it was not seen"
        nearest = max(instances, key=lambda each: (each.state is self.state, each.seen or 0))
        values = [f"{path}={_shown(find(nearest.status, path))}" for path, _ in self.fields]
        who = f" ({nearest.instance})" if nearest.instance else ""
        return f"last seen {', '.join([nearest.state.value, *values])}{who}"


def find(status: Any, path: str) -> Any:
    """Return the value at a dotted path, `queue.depth` or `jobs.0.name`; a key that is the whole of the rest comes first."""
    if isinstance(status, dict) and path in status:
        return status[path]
    head, dot, rest = path.partition(".")
    if isinstance(status, dict) and head in status:
        inner = status[head]
    elif isinstance(status, list) and head.isascii() and head.isdigit() and int(head) < len(status):
        inner = status[int(head)]
    else:
        return _ABSENT
    return find(inner, rest) if dot else inner


def parse_value(text: str) -> Any:
    """Return what a value means: JSON where it is some, else the text that it is."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def _is(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return value == text or value == parse_value(text)
    wanted = parse_value(text)
    # To Python, True is 1.
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _shown(value: Any) -> str:
    return "(none)" if value is _ABSENT else msgspec.json.encode(value).decode()[:80]
