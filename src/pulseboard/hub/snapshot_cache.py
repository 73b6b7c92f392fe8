"""Encoded boards that several clients share.

When many clients attach at once, or are reset, they receive the same bytes instead of a copy each.
A client reads a large board piece by piece, and a client that stops reading keeps it in memory.
Invariant: all boards in memory take at most BOARDS_MAX_BYTES and the size of one board, for any
number of clients that have stopped reading, at any time and with any selection.
"""

import time
from collections.abc import Callable, Iterator
from weakref import WeakSet, WeakValueDictionary

from pulseboard.hub.connection import Framing
from pulseboard.hub.view import View

PIECE_BYTES = 64 * 1024
FRESH_S = 0.1
"""How long a board serves further clients; the ring has the frames that followed it."""
MAX_KEPT = 32
"""How many boards are kept without a client: the number of different filters is unbounded."""
BOARDS_MAX_BYTES = 32 * 1024 * 1024


class EncodedSnapshot:
    """A board as framed pieces, true at `position` in the ring."""

    __slots__ = ("__weakref__", "made_at", "pieces", "position", "size")

    def __init__(self, board: bytes, framing: Framing, position: int) -> None:
        self.pieces = [
            framing(board[at : at + PIECE_BYTES]) for at in range(0, len(board), PIECE_BYTES)
        ]
        self.position = position
        self.made_at = time.monotonic()
        self.size = len(board)

    def read(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each piece, and whether it is the last one."""
        # The iterator holds a reference to this board, so a board in use stays counted.
        for piece in self.pieces:
            yield piece, piece is self.pieces[-1]


_Key = tuple[bool, frozenset[str] | None, Framing]


class SnapshotCache:
    """Boards by the parts of a view that they depend on, and by framing."""

    def __init__(self) -> None:
        self._kept: dict[_Key, EncodedSnapshot] = {}
        self._latest: WeakValueDictionary[_Key, EncodedSnapshot] = WeakValueDictionary()
        # Every board that is kept, or that a client still receives.
        self._all: WeakSet[EncodedSnapshot] = WeakSet()

    def get(
        self, view: View, framing: Framing, first: int, end: int, encode: Callable[[View], bytes]
    ) -> EncodedSnapshot | None:
        """Return a board that is true at a position from `first` on; a new one is true at `end`.

        If there is no memory for a new one, an older board serves while the ring has the frames
        that followed it. Returns None otherwise.
        """
        key = (view.status_stream, view.services, framing)
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
        made = EncodedSnapshot(encode(view), framing, end)
        self._kept[key] = self._latest[key] = made
        self._all.add(made)
        return made

    def release_unused(self) -> None:
        """Release the boards that no client receives."""
        self._kept.clear()

    def clear(self) -> None:
        """Give no further client any of these boards, which are outdated."""
        self._kept.clear()
        self._latest.clear()

    def _is_fresh(self, snapshot: EncodedSnapshot) -> bool:
        return time.monotonic() - snapshot.made_at <= FRESH_S

    def _is_full(self) -> bool:
        return sum(snapshot.size for snapshot in self._all) >= BOARDS_MAX_BYTES
