"""The fan-out: gives every connection the frames that it has not received, as it can take them.

Each attached connection is in exactly one of three places: in a group (it has received every
frame), behind (it can take more), or stalled (its sink accepts no bytes). A flush reads the ring
once for each group and writes the same bytes to all members. Stalled connections cost it nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

from pulseboard.hub.connection import (
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
"""The most that one write gives a connection, so that one that is far behind cannot fill memory."""
SLICE_S = 0.01
"""After this time a flush yields the event loop to requests and to the feed, and continues later."""
BOARD_DEADLINE_S = 5.0
"""The write deadline for a client that receives a board while others wait for memory for theirs."""
TOO_SLOW = "the client was too slow to receive all events"

log = logging.getLogger("pulseboard.hub")

_Shared = dict[tuple[int, View, Framing], tuple[bytes, int]]


class FanOut:
    """The connections that are served from a ring.

    `encode_board` returns the whole board as the bytes of one message, true at the ring's end.
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
        self._has_news = False

    def __len__(self) -> int:
        return len(self._connections)

    def attach(self, connection: Connection) -> None:
        """Serve a connection from its stage on."""
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
        """Detach the connections that reached their maximum lifetime, and return them."""
        expired = [
            connection
            for connection in self._connections
            if connection.ends_at <= now and not connection.is_inside_board
        ]
        for connection in expired:
            self.detach(connection)
        return expired

    def require_board(self, reset_reason: str | None) -> None:
        """Make every connection await a new board, after a `reset` if there is a reason for one.

        Writes nothing: call `flush` afterwards.
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
        """Give every connection the frames that it has not received.

        A round of more than SLICE_S yields the event loop and continues afterwards.
        """
        self._has_news = True
        if self._round is None:
            self._run_round()

    def abort_stalled(self, deadline_s: float) -> None:
        """Abort the connections whose client has read nothing, or too little, for the deadline.

        Also releases the boards that no client receives.
        """
        self._snapshots.release_unused()
        now = time.monotonic()
        board_s = min(deadline_s, BOARD_DEADLINE_S) if self._lacks_board_memory else deadline_s
        self._lacks_board_memory = False
        for connection in list(self._stalled):
            connection.note_progress(now)
            most_s = board_s if connection.is_inside_board else deadline_s
            if connection.stall is not None and connection.stall.is_over_deadline(now, most_s):
                log.info("closed a client that read nothing, or too little, for %.0f s", most_s)
                self.detach(connection)
                connection.abort()

    def _run_round(self) -> None:
        deadline = time.monotonic() + SLICE_S
        try:
            while self._round is not None or self._has_news:
                if self._round is None:
                    self._round, self._has_news = self._serve_all(), False
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
        # Between two yields, members may detach and new frames may arrive. No connection joins the
        # group meanwhile, since its position is not yet the end of the ring. A group that has lost
        # all members is not used again.
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
        """Give one connection that is behind all that its sink accepts."""
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
        """Move a connection that has received every frame into the group at its position.

        It stays behind while a round has not yet brought that group to the ring's end.
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
        """Note that a connection accepts no bytes, and how many events its client has received."""
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
        """Begin to give a connection the whole board, after a message that explains why.

        Returns False if there is no memory for its board: others must receive theirs first.
        """
        view, sink = connection.view, connection.sink
        snapshot = self._snapshots.get(
            view, sink.framing, self._ring.first, self._ring.end, self._encode_board
        )
        if snapshot is None:
            self._lacks_board_memory = True
            return False
        if not view.status_stream and (reason := self._explain(connection, snapshot.position)):
            sink.write(sink.framing(reason))
        connection.receive_board(snapshot.read(), snapshot.position)
        if isinstance(connection.stage, ReceivingBoard):
            connection.write_next_piece(connection.stage)
        return True

    def _explain(self, connection: Connection, position: int) -> bytes:
        """Return the message that precedes a board which is true at `position`."""
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
