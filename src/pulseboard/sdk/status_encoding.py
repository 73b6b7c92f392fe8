"""Encodes the values of a status as JSON, at the moment of the call.

A value that JSON cannot represent becomes text, so a stray value costs neither the field beside it
nor the whole status.
"""

from numbers import Integral, Real
from typing import Any

import msgspec

from pulseboard.sdk.internal_errors import is_from_signal_handler
from pulseboard.wire.codec import MAX_DEPTH, check_depth, may_be_deep
from pulseboard.wire.errors import InvalidEvent

VALUE_DEPTH = MAX_DEPTH - 2  # a value is nested in the status, and the status in the event


def encode_value(value: Any) -> msgspec.Raw:
    """Return the value of a field as JSON.

    Dates, UUIDs, decimals, sets, dataclasses and structs are encoded by msgspec, numbers of other
    libraries as numbers, and any other object as its `str()`. Raises InvalidEvent if the value is
    nested too deep or contains itself.
    """
    try:
        json = _encoder.encode(value)
    # Half a surrogate pair, an integer of 5,000 digits, or a __str__ that raises: encode the parts
    # one by one, and each that fails as text.
    except Exception as error:
        if is_from_signal_handler(error):
            raise
        json = _encoder.encode(_replace_unencodable(value, VALUE_DEPTH))
    if type(value) not in _FLAT and may_be_deep(json, levels_around=2):
        check_depth({"": msgspec.json.decode(json)})
    return msgspec.Raw(json)


def parse_status(json: bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of a status, each as JSON."""
    return _statuses.decode(json)


def fit_status(status: dict[str, msgspec.Raw], max_bytes: int) -> dict[str, msgspec.Raw]:
    """Replace the largest fields of a status by notes until its JSON fits into `max_bytes`.

    Without that, one field that grew too large would stop all updates while the heartbeats go on.
    """
    # Beside each value the JSON has its name, a colon and a comma.
    size = 2 + sum(
        len(bytes(value)) + len(_encoder.encode(name)) + 2 for name, value in status.items()
    )
    fitted = dict(status)
    for name, value in sorted(status.items(), key=lambda field: len(bytes(field[1])), reverse=True):
        if size <= max_bytes:
            return fitted
        note = encode_omission(len(bytes(value)))
        size += len(bytes(note)) - len(bytes(value))
        fitted[name] = note
    return fitted if size <= max_bytes else {"status": encode_omission(size)}


def encode_omission(size: int) -> msgspec.Raw:
    """Return the note, as JSON, that stands in the place of a value of `size` bytes."""
    return msgspec.Raw(_encoder.encode(f"(omitted: {size} bytes is too large)"))


def text_of(value: Any) -> str:
    """Return `str(value)` as UTF-8 can encode it; the name of its type if `str()` raises."""
    try:
        text = str(value)
    except Exception as error:
        if is_from_signal_handler(error):
            raise
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


def _replace_unencodable(value: Any, levels: int) -> Any:
    if isinstance(value, dict | list | tuple | set | frozenset):
        if not levels:
            raise InvalidEvent(
                "too-deep", f"an event nests at most {MAX_DEPTH} levels deep, itself included"
            )
        if isinstance(value, dict):
            return {
                text_of(key): _replace_unencodable(inner, levels - 1)
                for key, inner in value.items()
            }
        return [_replace_unencodable(inner, levels - 1) for inner in value]
    try:
        return msgspec.Raw(_encoder.encode(value))
    except Exception as error:
        if is_from_signal_handler(error):
            raise
        return text_of(value)


_FLAT = frozenset({int, float, bool, str, type(None)})


def _encode_unknown(value: Any) -> Any:
    """Return a number of another library, such as numpy, as a number; anything else as text."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    # Other scalars of numpy: a bool, a date.
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_encode_unknown)
_statuses = msgspec.json.Decoder(dict[str, msgspec.Raw])
