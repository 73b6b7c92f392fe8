"""Reads the fields of statuses and log lines one by one, at the moment of the call.

A value that cannot be encoded costs no other field, and is reported once in the log.
"""

from typing import Any, TypeAlias

import msgspec

from pulseboard.sdk.internal_errors import is_from_signal_handler
from pulseboard.sdk.status_encoding import encode_value, text_of
from pulseboard.sdk.usage_warnings import UsageWarnings
from pulseboard.wire.codec import encode

NAME_MAX = 256
"""Characters of a field's name. A longer name is a mistake, and takes room from its status."""
NAMES_MAX = 1_000
"""Names that are remembered as valid; a host application that invents names without end pays for
the check of each."""

Fields: TypeAlias = dict[str, msgspec.Raw | str | float | bool | None]
"""Fields by name. No value changes any more, and each is JSON or can be encoded as JSON."""

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_CONSTANTS = frozenset({float, bool, type(None)})


class FieldReader:
    """Reads the fields of statuses and log lines of one service."""

    def __init__(self, warnings: UsageWarnings) -> None:
        self._warn = warnings.warn_once
        self._names: set[str] = set()

    def read(self, fields: dict[Any, Any]) -> Fields:
        """Return the fields as they are at this moment.

        The result may be `fields` itself, which the caller must not change afterwards.
        """
        for name, value in fields.items():
            kind = type(value)
            # Nearly all values are of these kinds. They cannot change, and cost half as much when
            # they are encoded together with the status.
            if (type(name) is str and name in self._names) and (
                (kind is int and _INT_MIN <= value <= _INT_MAX)
                or (kind is str and value.isascii())
                or kind in _CONSTANTS
            ):
                continue
            return self._encode(fields)
        return fields

    def _encode(self, fields: dict[Any, Any]) -> Fields:
        encoded: Fields = {}
        for name, value in fields.items():
            if not (type(name) is str and len(name) <= NAME_MAX and name.isascii()):
                name = self._read_name(name)  # noqa: PLW2901
            elif len(self._names) < NAMES_MAX:
                self._names.add(name)
            try:
                encoded[name] = encode_value(value)
            # A container of the host application may raise any exception, and another thread may
            # change it meanwhile.
            except Exception as error:
                if is_from_signal_handler(error):
                    raise
                problem = f"a value cannot be shown: {text_of(error)}"
                self._warn("value", problem)
                encoded[name] = msgspec.Raw(encode(f"({problem[:200]})"))
        return encoded

    def _read_name(self, name: Any) -> str:
        text = text_of(name)
        if len(text) > NAME_MAX:
            self._warn(
                "name",
                f"the name of a field was cut to {NAME_MAX} characters, use a shorter one:"
                f" {text[:80]}...",
            )
            return text[:NAME_MAX]
        return text
