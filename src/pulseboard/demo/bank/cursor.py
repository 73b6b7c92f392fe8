"""Opaque cursors: a position in a list that only grows at its end.

A cursor is the number of entries already returned, signed with the bank's seed, so that the bank
rejects an invented cursor. No entry is ever inserted before the position, so paging neither skips
nor repeats an entry while accounts open.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

_SIGNATURE_BYTES = 6


class CursorError(ValueError):
    """The cursor was not issued by this bank for this list."""


def format_cursor(seed: int, listing: str, count: int) -> str:
    """Format the position after `count` entries of a list."""
    position = count.to_bytes(4, "big")
    return urlsafe_b64encode(position + _sign(seed, listing, position)).decode().rstrip("=")


def parse_cursor(seed: int, listing: str, cursor: str) -> int:
    """Return the number of entries before the position; raises CursorError."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise CursorError(CursorError.__doc__) from error
    position, signature = raw[:4], raw[4:]
    if len(position) != 4 or signature != _sign(seed, listing, position):
        raise CursorError(CursorError.__doc__)
    return int.from_bytes(position, "big")


def _sign(seed: int, listing: str, position: bytes) -> bytes:
    return hashlib.blake2b(
        position + listing.encode(), digest_size=_SIGNATURE_BYTES, key=str(seed).encode()
    ).digest()
