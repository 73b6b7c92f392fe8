"""The fan-out: gives every connection what it has not seen, when it can take it, and never waits for one."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from pulseboard.hub.connection import Connection, Framing, View
from pulseboard.hub.frames import reset_bytes, skipped_bytes
from pulseboard.hub.ring import Ring
from pulseboard.hub.snapshot_cache import SnapshotCache

WRITE_MAX_BYTES = 64 * 1024
"""The most that is handed to one connection in one write, so that one that is far behind does not fill memory."""
SLICE_S = 0.01
"""After so long a flush lets others have the loop: requests, and the feed."""
PATIENCE = 10
"""So many deadlines has one that takes a little at a time: what it was given stays in memory for it alone."""
SQUEEZE_S = 5.0
"""The deadline for readers of a board while others wait for the room that it takes."""
SLOW = "the reader was too slow for all that came"

log = logging.getLogger("pulseboard.hub")

_Shared = dict[tuple[int, View, Framing], tuple[bytes, int]]


class FanOut:
    """The connections that are served from a ring. `make_board` gives the whole board as bytes, true at the ring's end."""

    def __init__(self, ring: Ring, make_board: Callable[[View], bytes]) -> None:
        self._ring = ring
        self._make_board = make_board
        self._connections: set[Connection] = set()
        # Of those, who can take more: a crowd of frozen ones costs a flush nothing.
        self._ready: set[Connection] = set()
        self._greetings = SnapshotCache()
        self._crowded = False
        self._round: Iterator[Connection] | None = None
        self._again = False

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection) -> None:
        """Serve a connection from where it stands."""
        self._connections.add(connection)
        self.pump(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection; forgetting one that is not there is nothing."""
        self._connections.discard(connection)
        self._ready.discard(connection)

    def take_all(self) -> list[Connection]:
        """Let go of every connection, and return them."""
        connections = list(self._connections)
        self._connections.clear()
        self._ready.clear()
        return connections

    def begin_anew(self, reason: str | None) -> None:
        """Owe everybody a fresh board, after a `reset` if there is a reason to give. Does not flush."""
        self._greetings.clear()
        for connection in self._connections:
            connection.fresh, connection.reason = True, reason

    def pump(self, connection: Connection) -> None:
        """Give one connection what it has not seen, for as long as it can take it."""
        connection.woken.set()
        if connection in self._connections:
            self._ready.add(connection)
            self._pump(connection, {})

    def flush(self) -> None:
        """Give everybody what is new. A round that takes long is cut into slices, between which the loop does other things."""
        self._again = True
        if self._round is None:
            self._run_round()

    def let_go(self, deadline_s: float) -> None:
        """End the connections that took nothing for so long, and the boards that were made for others."""
        self._greetings.let_go()
        now, squeeze_s = (
            time.monotonic(),
            min(deadline_s, SQUEEZE_S) if self._crowded else deadline_s,
        )
        self._crowded = False
        for connection in self._connections - self._ready:
            before, connection.unsent = connection.unsent, connection.sink.unsent
            if connection.blocked_since is None:
                continue
            if connection.unsent < before:
                connection.taken_at = (
                    now  # slow, but it reads: a large board takes a thin line its time
                )
            most_s = deadline_s if connection.rest is None else squeeze_s
            if now > min(
                connection.taken_at + most_s, connection.blocked_since + PATIENCE * most_s
            ):
                log.info(
                    "let go of a reader that took nothing, or next to nothing, for %.0f s", most_s
                )
                connection.rest = None
                self.discard(connection)
                connection.sink.abort()

    def take_old(self, now: float) -> list[Connection]:
        """Let go of those that have lived their time, and return them."""
        # One in the middle of a board ends when it has it.
        old = [
            connection
            for connection in self._connections
            if connection.ends_at <= now and connection.rest is None
        ]
        for connection in old:
            self.discard(connection)
        return old

    def _run_round(self) -> None:
        shared: _Shared = {}
        deadline = time.monotonic() + SLICE_S
        try:
            while self._round is not None or self._again:
                if self._round is None:
                    self._round, self._again = iter(list(self._ready)), False
                for connection in self._round:
                    if connection in self._ready:
                        self._pump(connection, shared)
                    if time.monotonic() > deadline:
                        asyncio.get_running_loop().call_soon(self._run_round)
                        return
                self._round = None
        except BaseException:
            self._round = None  # or no flush would ever begin again
            raise

    def _pump(self, connection: Connection, shared: _Shared) -> None:
        sink, ring = connection.sink, self._ring
        if sink.writable:
            if connection.rest is None:
                connection.blocked_since = None
            else:
                connection.taken_at = time.monotonic()
        while sink.writable:
            if connection.rest is not None:
                self._go_on(connection, connection.rest)
            elif connection.fresh or connection.position < ring.first:
                if not self._greet(connection):
                    break
            elif connection.position >= ring.end:
                break
            elif data := self._read(connection, shared):
                sink.write(data)
        if not sink.writable:
            self._ready.discard(connection)
            self._note_blocked(connection)

    def _note_blocked(self, connection: Connection) -> None:
        """Keep what a reader had been given, for as long as that can be counted: it may fall off the ring."""
        if connection.blocked_since is None:
            connection.blocked_since = connection.taken_at = time.monotonic()
            connection.unsent = 0
        mark, position = connection.mark, connection.position
        if connection.fresh or connection.view.seed or position < self._ring.first:
            return
        if mark is None or mark.position != position:
            connection.mark = self._ring.mark(position, connection.view.choice, mark)

    def _greet(self, connection: Connection) -> bool:
        """Begin to give a connection the whole board, and before it why it comes if the reader had another one already.

        False when there is no room for its board: others must be through with theirs first.
        """
        view, sink = connection.view, connection.sink
        greeting = self._greetings.get(
            view, sink.framing, self._ring.first, self._ring.end, self._make_board
        )
        if greeting is None:
            self._crowded = True
            return False
        if not view.seed and (why := self._explain(connection, greeting.position)):
            sink.write(sink.framing(why))
        connection.fresh, connection.position = False, greeting.position
        connection.reason = connection.mark = None
        connection.rest = greeting.read()
        self._go_on(connection, connection.rest)
        return True

    def _go_on(self, connection: Connection, rest: Iterator[tuple[bytes, bool]]) -> None:
        # Each piece is a write of its own, and the same for all who read this board: nobody has a copy.
        piece, is_last = next(rest)
        if is_last:
            connection.rest = None
        connection.sink.write(piece)

    def _explain(self, connection: Connection, position: int) -> bytes:
        if connection.fresh:
            return b"" if connection.reason is None else reset_bytes(connection.reason)
        mark = connection.mark
        skipped = (
            None if mark is None else self._ring.count_since(mark, position, connection.view.choice)
        )
        return reset_bytes(SLOW) if skipped is None else skipped_bytes(SLOW, skipped)

    def _read(self, connection: Connection, shared: _Shared) -> bytes:
        """Return the bytes of the next frames for a connection and move it on; who stands where it stood shares them."""
        key = (connection.position, connection.view, connection.sink.framing)
        found = shared.get(key)
        if found is None:
            frames = self._ring.read(connection.position, WRITE_MAX_BYTES)
            data = b"".join(
                picked for frame in frames if (picked := connection.view.pick(frame)) is not None
            )
            found = shared[key] = (
                connection.sink.framing(data) if data else b"",
                connection.position + len(frames),
            )
        data, connection.position = found
        return data
