"""A connection: one client, its view, where its bytes go, and its stage in the stream.

A connection has no queue. Its stage says what it receives next:

    Resuming ──┬──> Following <──> CaughtUp      the frames of the ring, from its position on
               └──> AwaitingBoard                the whole board, when there is room for it
    AwaitingBoard ──> ReceivingBoard ──> Following

Only the methods of `Connection` change its stage. A connection that has received everything is a
member of a group and shares its position, so new frames change no state of the connection itself.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pulseboard.hub.frames import bye_bytes, retry_bytes
from pulseboard.hub.ring import Mark
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor

Framing = Callable[[bytes], bytes]

SLOW_FACTOR = 10
"""A client that reads a little at a time has this many write deadlines to catch up.

The bytes that it was given stay in memory for it alone.
"""


class Sink(Protocol):
    """The destination of a connection's bytes.

    `framing` wraps the bytes for HTTP; connections with the same function share the result. After
    a `write` that filled its buffer, `writable` is False until the owner of the sink calls
    `Hub.resume_writing`.
    """

    @property
    def framing(self) -> Framing: ...

    @property
    def writable(self) -> bool: ...

    @property
    def buffered_bytes(self) -> int:
        """How many of the written bytes this process still holds."""

    def write(self, data: bytes) -> None: ...

    def close(self, last: bytes) -> None:
        """Write `last` and end the stream in order."""

    def abort(self) -> None:
        """End the stream at once and drop the buffered bytes."""


@dataclass(eq=False, slots=True)
class Group:
    """Connections with one view and framing that have received every frame before `position`."""

    position: int
    members: set["Connection"] = field(default_factory=set)


@dataclass(slots=True)
class Resuming:
    """The connection receives missed events from Redis. `has_room` is set when it can take more."""

    has_room: asyncio.Event


@dataclass(frozen=True, slots=True)
class AwaitingBoard:
    """The connection needs the whole board, after a `reset` if there is a reason for one."""

    reset_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Following:
    """The connection receives the frames of the ring from its own position on."""

    position: int


@dataclass(slots=True)
class ReceivingBoard:
    """The connection receives the pieces of a board, and continues with the stage `after`."""

    pieces: Iterator[tuple[bytes, bool]]
    after: AwaitingBoard | Following


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The connection has received all frames, and shares the position of its group."""

    group: Group


Stage = Resuming | AwaitingBoard | ReceivingBoard | Following | CaughtUp


@dataclass(slots=True)
class Stall:
    """A period in which the sink accepts no bytes. Times are of the monotonic clock, in seconds."""

    since: float
    progress_at: float
    """When the client was last found to have read some of the buffered bytes."""
    buffered_bytes: int = 0

    def is_over_deadline(self, now: float, deadline_s: float) -> bool:
        """Return whether the client has read nothing for the deadline, or not caught up in time."""
        return now > min(self.progress_at + deadline_s, self.since + SLOW_FACTOR * deadline_s)


@dataclass(eq=False, slots=True)
class Connection:
    """One client of a stream. `ends_at` is when its stream has reached its maximum lifetime."""

    view: View
    sink: Sink
    stage: Stage = AwaitingBoard()
    stall: Stall | None = None
    ends_at: float = math.inf
    _delivered: Mark | None = None
    """How many events the client had received when it last stalled, to count skipped events."""

    @property
    def position(self) -> int | None:
        """The number of the first frame that it has not received.

        None while it awaits a board, or receives missed events from Redis.
        """
        match self.stage:
            case CaughtUp(group):
                return group.position
            case Following(position) | ReceivingBoard(after=Following(position)):
                return position
            case _:
                return None

    def has_room(self) -> bool:
        """Return whether the sink accepts bytes."""
        return self.sink.writable

    @property
    def is_inside_board(self) -> bool:
        """Whether the client has received a part of a board, so that no other bytes may follow."""
        return isinstance(self.stage, ReceivingBoard)

    @property
    def delivered(self) -> Mark | None:
        """How many events it had received at a position in the ring, if that was counted."""
        return self._delivered

    def start_resuming(self, delivered: Mark) -> None:
        """Receive missed events from Redis up to a position in the ring."""
        self.stage = Resuming(asyncio.Event())
        self._delivered = delivered

    def await_board(self, reset_reason: str | None = None) -> None:
        """Discard its position: the whole board comes next, after the one that it receives now."""
        if isinstance(self.stage, ReceivingBoard):
            self.stage.after = AwaitingBoard(reset_reason)
        else:
            self.stage = AwaitingBoard(reset_reason)

    def receive_board(self, pieces: Iterator[tuple[bytes, bool]], position: int) -> None:
        """Begin with a board that is true at a position in the ring, and follow from there."""
        self.stage = ReceivingBoard(pieces, Following(position))
        self._delivered = None

    def write_next_piece(self, stage: ReceivingBoard) -> None:
        """Write one piece of the board, which all clients that receive this board share."""
        piece, is_last = next(stage.pieces)
        if is_last:
            self.stage = stage.after
        self.sink.write(piece)

    def follow(self, position: int) -> None:
        """Receive the frames of the ring from this position on."""
        self.stage = Following(position)

    def join_group(self, group: Group) -> None:
        """Share the position of a group, as it has received the same frames."""
        group.members.add(self)
        self.stage = CaughtUp(group)

    def leave_group(self, position: int) -> None:
        """Follow the ring by itself from `position` on, if it is in a group."""
        if isinstance(self.stage, CaughtUp):
            self.stage.group.members.discard(self)
            self.stage = Following(position)

    def note_stall(self, now: float) -> None:
        """Note that the sink accepts no more bytes."""
        if self.stall is None:
            self.stall = Stall(since=now, progress_at=now)

    def note_delivered(self, mark: Mark) -> None:
        """Note how many events the client has received: it may fall behind the ring."""
        self._delivered = mark

    def note_writable(self, now: float) -> None:
        """Note that the sink accepts bytes again."""
        if self.stall is not None and self.is_inside_board:
            self.stall.progress_at = now  # The limit for the whole board remains.
        else:
            self.stall = None

    async def wait_for_room(self) -> None:
        """Wait for the next `wake_resume`."""
        if isinstance(self.stage, Resuming):
            self.stage.has_room.clear()
            await self.stage.has_room.wait()

    def wake_resume(self) -> None:
        """Let a read of missed events continue that waits for the client or for the hub's end."""
        if isinstance(self.stage, Resuming):
            self.stage.has_room.set()

    def note_progress(self, now: float) -> None:
        """Note whether the client has read some of the buffered bytes since the last call."""
        if self.stall is None:
            return
        before, self.stall.buffered_bytes = self.stall.buffered_bytes, self.sink.buffered_bytes
        if self.stall.buffered_bytes < before:
            self.stall.progress_at = now

    def close(self, reason: str, retry_ms: int, received: Cursor | None) -> None:
        """End the stream in order, with the time after which the client reconnects.

        `received` is the cursor up to which the client has received everything; None if it is
        behind.
        """
        if self.is_inside_board:
            self.abort()  # Other bytes would be in the middle of a message.
            return
        last = (
            retry_bytes(retry_ms)
            if self.view.status_stream
            else bye_bytes(reason, retry_ms, received)
        )
        self.sink.close(self.sink.framing(last))

    def abort(self) -> None:
        """End the stream at once and release the board that it receives."""
        self.stage = AwaitingBoard()
        self.sink.abort()
