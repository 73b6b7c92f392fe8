"""Conditions of `pulseboard wait`: `SERVICE=alive[,field=value…]`."""

import re
from typing import Any, NamedTuple

import msgspec

from pulseboard.cli.board_mirror import read_status
from pulseboard.wire.errors import ConfigError, InvalidName
from pulseboard.wire.names import check_service_name
from pulseboard.wire.state import State
from pulseboard.wire.views import InstanceStateView

_NEXT_FIELD = re.compile(r",(?=[^,=]+=)")
_ABSENT = object()


class Condition(NamedTuple):
    """One instance of a service is in a state and its status has these values.

    With the state `missing` and no fields: the service has no instance.
    """

    text: str
    service: str
    state: State
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Parse one condition; raise ConfigError if it is malformed."""
        first, *more = _NEXT_FIELD.split(text)
        service, found, state = first.partition("=")
        if not found or state not in [*State]:
            raise ConfigError(
                f"a condition is SERVICE=STATE[,field=value], not {text[:80]!r};"
                f" STATE is {', '.join(State)}"
            )
        try:
            check_service_name(service)
        except InvalidName as error:
            raise ConfigError(str(error)) from error
        fields = tuple((name, value) for name, _, value in (each.partition("=") for each in more))
        return cls(text, service, State(state), fields)

    def find_holder(self, instances: list[InstanceStateView]) -> str | None:
        """Return the name of the first instance that fulfils the condition, or None."""
        if self.state is State.MISSING and not self.fields:
            absent = all(each.state is State.MISSING for each in instances)
            return "no instance" if absent else None
        for each in instances:
            if each.state is self.state and all(
                _equals(find(read_status(each), path), value) for path, value in self.fields
            ):
                return each.instance or "-"
        return None

    def describe(self, instances: list[InstanceStateView]) -> str:
        """Describe the instance that is closest to the condition: its state and the fields."""
        if not instances:
            return "not seen"
        nearest = max(instances, key=lambda each: (each.state is self.state, each.seen))
        values = [f"{path}={_format(find(read_status(nearest), path))}" for path, _ in self.fields]
        name = f" ({nearest.instance})" if nearest.instance else ""
        return f"last seen {', '.join([nearest.state.value, *values])}{name}"


def find(status: Any, path: str) -> Any:
    """Return the value at a dotted path such as `queue.depth` or `jobs.0.name`.

    A key that equals the whole remaining path wins over a nested value.
    """
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
    """Return the value as JSON if it is valid JSON, otherwise as text."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def _equals(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return value == text or value == parse_value(text)
    expected = parse_value(text)
    # Python treats True and 1 as equal; JSON does not.
    return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)


def _format(value: Any) -> str:
    return "(none)" if value is _ABSENT else msgspec.json.encode(value).decode()[:80]
