"""Greetings: the whole board as bytes, made once for a crowd that comes at once, or is reset, instead of a copy for each.

Readers take a large one piece by piece, and whoever stops in the middle keeps it in memory. Invariant: all boards that are
in memory take ROOM_BYTES and one board at most, however many readers are frozen, whenever they came and whatever they chose.
"""

import time
from collections.abc import Callable, Iterator
from weakref import WeakSet, WeakValueDictionary

from pulseboard.hub.connection import Framing, View

PIECE_BYTES = 64 * 1024
FRESH_S = 0.1
"""How long a board that was made for one reader serves others; what followed it is in the ring."""
MAX_KEPT = 32
"""How many boards are held when nobody reads them: readers choose their filters, and so how many differ."""
ROOM_BYTES = 32 * 1024 * 1024


class EncodedSnapshot:
    """A board, framed, in pieces, and the position in the ring that it is true at."""

    __slots__ = ("__weakref__", "made_at", "pieces", "position", "size")

    def __init__(self, board: bytes, framing: Framing, position: int) -> None:
        self.pieces = [
            framing(board[at : at + PIECE_BYTES]) for at in range(0, len(board), PIECE_BYTES)
        ]
        self.position = position
        self.made_at = time.monotonic()
        self.size = len(board)

    def read(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each piece, and whether it is the last."""
        for piece in self.pieces:
            yield piece, piece is self.pieces[-1]


_Key = tuple[bool, frozenset[str] | None, Framing]


class SnapshotCache:
    """Boards by what of a view they depend on, and by framing."""

    def __init__(self) -> None:
        self._kept: dict[_Key, EncodedSnapshot] = {}
        self._latest: WeakValueDictionary[_Key, EncodedSnapshot] = WeakValueDictionary()
        # Every board that anybody still reads, or that is kept.
        self._all: WeakSet[EncodedSnapshot] = WeakSet()

    def get(
        self, view: View, framing: Framing, first: int, end: int, make: Callable[[View], bytes]
    ) -> EncodedSnapshot | None:
        """Return a board that is true at a position not before `first`; one that is made is true at `end`.

        Where there is no room for another, an older one serves as long as the ring has what followed; else None.
        """
        key = (view.seed, view.services, framing)
        found = self._latest.get(key)
        if (
            found is not None
            and found.position >= first
            and (self._is_fresh(found) or self._is_full())
        ):
            return found
        found = None
        if len(self._kept) >= MAX_KEPT or self._is_full():
            self._kept.clear()
        self._kept.pop(key, None)
        if self._is_full():
            return None
        made = self._kept[key] = self._latest[key] = EncodedSnapshot(make(view), framing, end)
        self._all.add(made)
        return made

    def let_go(self) -> None:
        """Keep none that nobody reads: it takes memory for nothing."""
        self._kept.clear()

    def clear(self) -> None:
        """Give none of them to anybody any more: what they show is past."""
        self._kept.clear()
        self._latest.clear()

    def _is_fresh(self, greeting: EncodedSnapshot) -> bool:
        return time.monotonic() - greeting.made_at <= FRESH_S

    def _is_full(self) -> bool:
        return sum(greeting.size for greeting in self._all) >= ROOM_BYTES
