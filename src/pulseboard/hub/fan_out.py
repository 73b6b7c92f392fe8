"""The fan-out: writes to every connection the frames of the ring that it has not received.

Each attached connection is in exactly one of three places: in a group (it has received every
frame), behind (it lacks frames or the board, and its sink accepts bytes), or stalled (its sink
accepts no bytes). A flush reads the ring once for each group and writes the same bytes to all
members. It does not visit stalled connections.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from pulseboard.hub.connection import (
    SLOW_FACTOR,
    AwaitingBoard,
    Connection,
    Following,
    Framing,
    Group,
    ReceivingBoard,
)
from pulseboard.hub.frames import reset_bytes, skipped_bytes
from pulseboard.hub.ring import Ring
from pulseboard.hub.snapshot_cache import SnapshotCache
from pulseboard.hub.view import View

WRITE_MAX_BYTES = 64 * 1024
"""The limit of one write, so that a connection far behind the ring cannot fill memory.

A frame that is larger is written alone.
"""
SLICE_S = 0.01
"""A flush that takes longer pauses, so that the event loop can serve requests and the feed."""
BOARD_DEADLINE_S = 5.0
"""The write deadline for a client that receives a board, while other clients wait for memory.

All boards that clients receive share a limited amount of memory (`SnapshotCache`).
"""
TOO_SLOW = "the client was too slow to receive all events"

log = logging.getLogger("pulseboard.hub")

_Shared = dict[tuple[int, View, Framing], tuple[bytes, int]]


class FanOut:
    """The connections that receive the frames of one ring.

    `encode_board` returns the whole board as the bytes of one message. This board includes every
    frame of the ring.
    """

    def __init__(self, ring: Ring, encode_board: Callable[[View], bytes]) -> None:
        self._ring = ring
        self._encode_board = encode_board
        self._connections: set[Connection] = set()
        self._groups: dict[tuple[View, Framing], Group] = {}
        self._behind: set[Connection] = set()
        self._stalled: set[Connection] = set()
        self._snapshots = SnapshotCache()
        self._lacks_board_memory = False
        self._round: Iterator[None] | None = None
        self._has_new_frames = False

    def __len__(self) -> int:
        return len(self._connections)

    def attach(self, connection: Connection) -> None:
        """Begin to serve a connection. Its stage determines the bytes that it receives first."""
        self._connections.add(connection)
        self._behind.add(connection)
        self._serve(connection, {})

    def detach(self, connection: Connection) -> None:
        """Stop serving a connection; do nothing if it is not attached."""
        self._connections.discard(connection)
        self._behind.discard(connection)
        self._stalled.discard(connection)
        if (position := connection.position) is not None:
            self._leave_group(connection, position)

    def detach_all(self) -> list[Connection]:
        """Detach every connection and return them."""
        connections = list(self._connections)
        for connection in connections:
            self.detach(connection)
        return connections

    def detach_expired(self, now: float) -> list[Connection]:
        """Detach the connections that reached their maximum lifetime, and return them.

        A connection that is receiving a board stays until the board is complete.
        """
        expired = [
            connection
            for connection in self._connections
            if connection.ends_at <= now and not connection.is_inside_board
        ]
        for connection in expired:
            self.detach(connection)
        return expired

    def require_board(self, reset_reason: str | None) -> None:
        """Make every connection await a new board, which a later `flush` writes.

        If `reset_reason` is not None, a `reset` message with this reason precedes the board.
        """
        self._snapshots.clear()
        for connection in self._connections:
            if (position := connection.position) is not None:
                self._leave_group(connection, position)
            connection.await_board(reset_reason)
        self._behind = self._connections - self._stalled

    def resume_writing(self, connection: Connection) -> None:
        """Serve a connection whose sink accepts bytes again."""
        connection.wake_resume()
        if connection in self._stalled:
            self._stalled.discard(connection)
            self._behind.add(connection)
        if connection in self._behind:
            self._serve(connection, {})

    def flush(self) -> None:
        """Write to every connection the frames that it has not received: one round.

        A round that takes longer than SLICE_S returns to the event loop, which continues it later.
        """
        self._has_new_frames = True
        if self._round is None:
            self._run_round()

    def abort_stalled(self, deadline_s: float) -> None:
        """Abort each stalled connection whose client has exceeded the write deadline.

        A client exceeds it by reading no byte for `deadline_s`, or by reading so slowly that the
        stall lasts 10 times as long. Also releases the boards that no client receives.
        """
        self._snapshots.release_unused()
        now = time.monotonic()
        board_s = min(deadline_s, BOARD_DEADLINE_S) if self._lacks_board_memory else deadline_s
        self._lacks_board_memory = False
        for connection in list(self._stalled):
            connection.note_progress(now)
            limit_s = board_s if connection.is_inside_board else deadline_s
            if connection.stall is not None and connection.stall.is_over_deadline(now, limit_s):
                log.info(
                    "closed a client that read nothing for %.0f s, or did not catch up in %.0f s",
                    limit_s,
                    SLOW_FACTOR * limit_s,
                )
                self.detach(connection)
                connection.abort()

    def _run_round(self) -> None:
        deadline = time.monotonic() + SLICE_S
        try:
            while self._round is not None or self._has_new_frames:
                if self._round is None:
                    self._round, self._has_new_frames = self._serve_all(), False
                for _ in self._round:
                    if time.monotonic() > deadline:
                        asyncio.get_running_loop().call_soon(self._run_round)
                        return
                self._round = None
        except BaseException:
            self._round = None  # Otherwise no later flush would start a round.
            raise

    def _serve_all(self) -> Iterator[None]:
        """Serve all groups, then the connections that are behind; yield after each connection."""
        for (view, framing), group in list(self._groups.items()):
            yield from self._serve_group(group, view, framing)
        shared: _Shared = {}
        for connection in list(self._behind):
            if connection in self._behind:
                self._serve(connection, shared)
            yield

    def _serve_group(self, group: Group, view: View, framing: Framing) -> Iterator[None]:
        # While this generator is suspended at a `yield`, members may detach and new frames may
        # arrive. No connection joins the group before the group has reached the end of the ring. A
        # group without members is not used again.
        while group.members and group.position < self._ring.end:
            if group.position < self._ring.first:
                for connection in list(group.members):
                    self._leave_group(connection, group.position)
                    self._behind.add(connection)
                return
            data, position = self._read(group.position, view, framing)
            if not data:
                group.position = position
                continue
            for connection in list(group.members):
                if connection in group.members:
                    connection.sink.write(data)
                    if not connection.sink.writable:
                        self._leave_group(connection, position)
                        self._stall(connection)
                yield
            group.position = position

    def _serve(self, connection: Connection, shared: _Shared) -> None:
        """Write to one connection until it is up to date or its sink is full.

        Also stops if there is no memory for the board of the connection.
        """
        sink, ring = connection.sink, self._ring
        if sink.writable:
            connection.note_writable(time.monotonic())
        while sink.writable:
            match connection.stage:
                case ReceivingBoard() as stage:
                    connection.write_next_piece(stage)
                case Following(position) if position >= ring.first:
                    if position >= ring.end:
                        self._join_group(connection, position)
                        return
                    key = (position, connection.view, sink.framing)
                    if key not in shared:
                        shared[key] = self._read(*key)
                    data, position = shared[key]
                    connection.follow(position)
                    if data:
                        sink.write(data)
                case AwaitingBoard() | Following():
                    if not self._start_board(connection):
                        return
                case _:
                    return
        self._stall(connection)

    def _join_group(self, connection: Connection, position: int) -> None:
        """Move a connection that has received every frame into the group of its view and framing.

        While that group is at an earlier position, the connection stays in `_behind`. A later round
        moves it, after the group has reached the end of the ring.
        """
        key = (connection.view, connection.sink.framing)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(position)
        if group.position == position:
            connection.join_group(group)
            self._behind.discard(connection)

    def _leave_group(self, connection: Connection, position: int) -> None:
        connection.leave_group(position)
        key = (connection.view, connection.sink.framing)
        if (group := self._groups.get(key)) is not None and not group.members:
            del self._groups[key]

    def _stall(self, connection: Connection) -> None:
        """Record that a sink accepts no bytes, and count the events that its client has received.

        From this count, a later `skipped` message computes the number of skipped events.
        """
        self._behind.discard(connection)
        if connection not in self._connections:
            return
        self._stalled.add(connection)
        connection.note_stall(time.monotonic())
        position, before = connection.position, connection.delivered
        if position is None or connection.view.status_stream or position < self._ring.first:
            return
        if before is None or before.position != position:
            choice = connection.view.choice
            connection.note_delivered(self._ring.mark(position, choice, before))

    def _start_board(self, connection: Connection) -> bool:
        """Begin to write the whole board to a connection, after a message with the reason.

        Returns False if there is no memory for this board until other clients have received theirs.
        """
        view, sink = connection.view, connection.sink
        snapshot = self._snapshots.get(
            view, sink.framing, self._ring.first, self._ring.end, self._encode_board
        )
        if snapshot is None:
            self._lacks_board_memory = True
            return False
        if not view.status_stream:
            message = self._make_reason_message(connection, snapshot.position)
            if message:
                sink.write(sink.framing(message))
        connection.receive_board(snapshot.read(), snapshot.position)
        if isinstance(connection.stage, ReceivingBoard):
            connection.write_next_piece(connection.stage)
        return True

    def _make_reason_message(self, connection: Connection, position: int) -> bytes:
        """Return the `reset` or `skipped` message that precedes the board of `position`.

        The first board of a connection needs no reason: the result is empty.
        """
        if isinstance(connection.stage, AwaitingBoard):
            reason = connection.stage.reset_reason
            return b"" if reason is None else reset_bytes(reason)
        skipped = (
            None
            if connection.delivered is None
            else self._ring.count_since(connection.delivered, position, connection.view.choice)
        )
        return reset_bytes(TOO_SLOW) if skipped is None else skipped_bytes(TOO_SLOW, skipped)

    def _read(self, position: int, view: View, framing: Framing) -> tuple[bytes, int]:
        """Return the framed bytes of the next frames for a view, and the position after them."""
        frames = self._ring.read(position, WRITE_MAX_BYTES)
        data = b"".join(picked for frame in frames if (picked := view.pick(frame)) is not None)
        return (framing(data) if data else b""), position + len(frames)
