"""Fields of a host's, made JSON one by one: what cannot be shown costs none of the others, and is complained of once."""

from typing import Any

import msgspec

from pulseboard.sdk.complaints import Complaints
from pulseboard.sdk.guard import is_hosts_own
from pulseboard.sdk.status import encode_value, text_of
from pulseboard.wire.events import encode

NAME_MAX = 256
"""Characters of a field's name: one that is longer is a mistake, and costs its status the room."""


class FieldEncoder:
    """Encodes the fields of statuses and log lines of one service."""

    def __init__(self, complaints: Complaints) -> None:
        self._complain = complaints.tell

    def encode(self, fields: dict[Any, Any]) -> dict[str, msgspec.Raw]:
        """Return each field as JSON, read at this moment."""
        said: dict[str, msgspec.Raw] = {}
        for name, value in fields.items():
            if not (type(name) is str and len(name) <= NAME_MAX and name.isascii()):
                name = self._name_of(name)  # noqa: PLW2901
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
            self._complain("name", f"the name of a field was cut to {NAME_MAX} characters: {name[:80]}...")
            return name[:NAME_MAX]
        return name
