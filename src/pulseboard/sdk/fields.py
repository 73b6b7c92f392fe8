"""Fields of a host's, read one by one: what cannot be shown costs none of the others, and is complained of once."""

from typing import Any, TypeAlias

import msgspec

from pulseboard.sdk.internal_errors import is_hosts_own
from pulseboard.sdk.status_encoding import encode_value, text_of
from pulseboard.sdk.usage_warnings import UsageWarnings
from pulseboard.wire.codec import encode

NAME_MAX = 256
"""Characters of a field's name: one that is longer is a mistake, and costs its status the room."""
NAMES_MAX = 1_000
"""So many names are known again; hosts that make up names without end pay for the look at each."""

Fields: TypeAlias = dict[str, msgspec.Raw | str | float | bool | None]
"""Fields by name, of which none changes any more, and each is JSON or can be written as such."""

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_CONSTANTS = frozenset({float, bool, type(None)})


class FieldReader:
    """Reads the fields of statuses and log lines of one service."""

    def __init__(self, complaints: UsageWarnings) -> None:
        self._complain = complaints.tell
        self._names: set[str] = set()

    def read(self, fields: dict[Any, Any]) -> Fields:
        """Return the fields as they are at this moment; it may be the very dict, which is no longer the caller's then."""
        for name, value in fields.items():
            kind = type(value)
            # Nearly all that is said: what cannot change is made JSON when the status is, at half the price.
            if (type(name) is str and name in self._names) and (
                (kind is int and _INT_MIN <= value <= _INT_MAX)
                or (kind is str and value.isascii())
                or kind in _CONSTANTS
            ):
                continue
            return self._encode(fields)
        return fields

    def _encode(self, fields: dict[Any, Any]) -> Fields:
        said: Fields = {}
        for name, value in fields.items():
            if not (type(name) is str and len(name) <= NAME_MAX and name.isascii()):
                name = self._name_of(name)  # noqa: PLW2901
            elif len(self._names) < NAMES_MAX:
                self._names.add(name)
            try:
                said[name] = encode_value(value)
            # A container of the host's own may raise anything at all, and another thread may change it meanwhile.
            except Exception as error:
                if is_hosts_own(error):
                    raise
                problem = f"a value cannot be shown: {text_of(error)}"
                self._complain("value", problem)
                said[name] = msgspec.Raw(encode(f"({problem[:200]})"))
        return said

    def _name_of(self, field: Any) -> str:
        name = text_of(field)
        if len(name) > NAME_MAX:
            self._complain(
                "name", f"the name of a field was cut to {NAME_MAX} characters: {name[:80]}..."
            )
            return name[:NAME_MAX]
        return name
