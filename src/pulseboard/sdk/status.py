"""A status made JSON: what JSON has no word for is written as text, so that a stray value never costs the whole status."""

from typing import Any

import msgspec

from pulseboard.wire.events import MAX_DEPTH, check_depth


def encode_status(status: dict[str, Any]) -> msgspec.Raw:
    """Return the status as the JSON text of an object; raise InvalidEvent, TypeError or what a value's own methods raise.

    Dates, UUIDs, decimals, sets, dataclasses and structs are written as msgspec writes them; any other object as `str()` of it.
    """
    json = _encoder.encode(status)
    # Nearly every status is flat, and one that nests n deep has n closing brackets at least.
    if json.count(b"[") + json.count(b"{") >= MAX_DEPTH:
        check_depth(msgspec.json.decode(json))
    return msgspec.Raw(json)


_encoder = msgspec.json.Encoder(enc_hook=str)
