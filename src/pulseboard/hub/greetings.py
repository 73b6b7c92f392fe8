"""Greetings: the whole board as bytes, made once for a crowd that comes at once, or is reset, instead of a copy for each."""

import time
from collections.abc import Callable
from typing import NamedTuple

from pulseboard.hub.connection import Framing, View

FRESH_S = 0.1
"""How long a board that was made for one reader serves others; what followed it is in the ring."""
MAX_KEPT = 32
"""How many boards are held: readers choose their filters, and so how many differ."""


class Greeting(NamedTuple):
    """A board, framed, and the position in the ring that it is true at."""

    data: bytes
    position: int
    made_at: float


class Greetings:
    """Boards by view and framing."""

    def __init__(self) -> None:
        self._kept: dict[tuple[View, Framing], Greeting] = {}

    def get(self, view: View, framing: Framing, first: int, end: int, make: Callable[[View], bytes]) -> Greeting:
        """Return a board that is true at a position not before `first`; one that is made is true at `end`."""
        found = self._kept.get((view, framing))
        now = time.monotonic()
        if found is None or now - found.made_at > FRESH_S or found.position < first:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            found = self._kept[view, framing] = Greeting(framing(make(view)), end, now)
        return found

    def clear(self) -> None:
        """Let all of them go: what they show is past, or takes memory for nothing."""
        self._kept.clear()
