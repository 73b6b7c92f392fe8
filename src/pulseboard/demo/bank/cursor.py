"""Opaque cursors: a place in a list that only ever grows at its end.

A cursor is the number of entries already given, signed with the bank's seed: whoever makes one up is told so. Because
nothing is ever inserted before it, paging skips and repeats nothing while accounts open.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

_MARK_BYTES = 6


class CursorError(ValueError):
    """The cursor was not given out by this bank for this list."""


def format_cursor(seed: int, listing: str, given: int) -> str:
    """Write the place after `given` entries of a list."""
    place = given.to_bytes(4, "big")
    return urlsafe_b64encode(place + _mark(seed, listing, place)).decode().rstrip("=")


def parse_cursor(seed: int, listing: str, cursor: str) -> int:
    """Read how many entries were given; raises CursorError."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise CursorError(CursorError.__doc__) from error
    place, mark = raw[:4], raw[4:]
    if len(place) != 4 or mark != _mark(seed, listing, place):
        raise CursorError(CursorError.__doc__)
    return int.from_bytes(place, "big")


def _mark(seed: int, listing: str, place: bytes) -> bytes:
    return hashlib.blake2b(
        place + listing.encode(), digest_size=_MARK_BYTES, key=str(seed).encode()
    ).digest()
