"""A status made JSON, each field at the moment it is said, so that what the host does to a value later is not told.

What JSON has no word for is written as text: a stray value never costs the field beside it, nor the whole status.
"""

from numbers import Integral, Real
from typing import Any

import msgspec

from pulseboard.sdk.internal_errors import is_hosts_own
from pulseboard.wire.codec import MAX_DEPTH, check_depth, may_be_deep
from pulseboard.wire.errors import InvalidEvent

VALUE_DEPTH = MAX_DEPTH - 2  # the event and the status are around it


def encode_value(value: Any) -> msgspec.Raw:
    """Return one field of a status as JSON; raise InvalidEvent when it nests too deep or runs in a circle.

    Dates, UUIDs, decimals, sets, dataclasses and structs are written as msgspec writes them; numbers of other libraries
    as numbers; any other object as `str()` of it.
    """
    try:
        json = _encoder.encode(value)
    # Half a surrogate pair, an integer of 5,000 digits, a __str__ that raises anything at all: look for it.
    except Exception as error:
        if is_hosts_own(error):
            raise
        json = _encoder.encode(_mend(value, VALUE_DEPTH))
    if type(value) not in _FLAT and may_be_deep(json, levels_around=2):
        check_depth({"": msgspec.json.decode(json)})
    return msgspec.Raw(json)


def parse_status(json: bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of a status, each as JSON."""
    return _statuses.decode(json)


def fit_status(status: dict[str, msgspec.Raw], max_bytes: int) -> dict[str, msgspec.Raw]:
    """Return the status with its largest fields left out, and saying so, until its JSON fits into `max_bytes`.

    A field that grew too large must not keep the others from being told: they would stand still while the service beats.
    """
    # Beside each field stand its name as JSON, a colon and a comma.
    size = 2 + sum(
        len(bytes(value)) + len(_encoder.encode(name)) + 2 for name, value in status.items()
    )
    fitted = dict(status)
    for name, value in sorted(status.items(), key=lambda field: len(bytes(field[1])), reverse=True):
        if size <= max_bytes:
            return fitted
        said = _left_out(len(bytes(value)))
        size += len(bytes(said)) - len(bytes(value))
        fitted[name] = said
    return fitted if size <= max_bytes else {"status": _left_out(size)}


def _left_out(size: int) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(f"(left out: {size} bytes are too large)"))


def text_of(value: Any) -> str:
    """Return `str(value)`, as UTF-8 can hold it, or the name of its type where that raises."""
    try:
        text = str(value)
    except Exception as error:
        if is_hosts_own(error):
            raise
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


def _mend(value: Any, levels: int) -> Any:
    if isinstance(value, dict | list | tuple | set | frozenset):
        if not levels:
            raise InvalidEvent(
                "too-deep", f"an event nests at most {MAX_DEPTH} deep, itself included"
            )
        if isinstance(value, dict):
            return {text_of(key): _mend(inner, levels - 1) for key, inner in value.items()}
        return [_mend(inner, levels - 1) for inner in value]
    try:
        return msgspec.Raw(_encoder.encode(value))
    except Exception as error:
        if is_hosts_own(error):
            raise
        return text_of(value)


_FLAT = frozenset({int, float, bool, str, type(None)})


def _say(value: Any) -> Any:
    """Return a number of another library, such as numpy's, as a number; anything else as text."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if getattr(value, "ndim", None) == 0 and hasattr(
        value, "item"
    ):  # numpy's other scalars: a bool, a date
        return value.item()
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_say)
_statuses = msgspec.json.Decoder(dict[str, msgspec.Raw])
