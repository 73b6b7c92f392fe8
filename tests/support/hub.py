"""A hub without Redis and sockets: tests supply the events, clients are lists of bytes."""

import asyncio
import json
from collections.abc import Callable, Generator, Iterable
from typing import Any

import msgspec
import pytest

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Entry, Heartbeat, Reset
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection, Framing
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.hub.view import View
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.lifecycle import Incident, LifecycleEvent
from pulseboard.wire.events.status import StatusEvent

STATUS_STREAM = View(status_stream=True)
"""The view of the status stream."""


def unframed(data: bytes) -> bytes:
    return data


class ListSink:
    """A client that records every write. It accepts `room` more writes before it is full."""

    def __init__(self, room: int | None = None, framing: Framing = unframed) -> None:
        self.framing = framing
        self.room = room
        self.writes: list[bytes] = []
        self.closed = False
        self.aborted = False
        self.buffered_bytes = 0

    @property
    def writable(self) -> bool:
        return not (self.closed or self.aborted) and (self.room is None or self.room > 0)

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        if self.room is not None:
            self.room = max(0, self.room - 1)

    def close(self, last: bytes) -> None:
        self.writes.append(last)
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Message:
    """One SSE message as a browser would see it."""

    def __init__(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        self.id = fields.get("id")
        self.event = fields.get("event", "message")
        self.retry = int(fields["retry"]) if "retry" in fields else None
        self.data: Any = json.loads(fields["data"])

    def __repr__(self) -> str:
        return f"<{self.event} {self.id} {self.data}>"


def messages(writes: Iterable[bytes]) -> list[Message]:
    """Parse the messages that a client was sent, without the comments."""
    blocks = b"".join(writes).decode().split("\n\n")
    assert blocks[-1] == "", "the last message is not complete"
    return [Message(block) for block in blocks[:-1] if not block.startswith(":")]


def status_numbers(sink: ListSink) -> list[int]:
    """Return the numbers of the status events that a client was sent, in order."""
    return [each.data["status"]["n"] for each in messages(sink.writes) if each.event == "status"]


def event_names(sink: ListSink) -> list[str]:
    """Return the names of the events that a client was sent, in order."""
    return [each.event for each in messages(sink.writes)]


def entry(n: int, service: str = "a", instance: str = "", **more: Any) -> Entry:
    """Return event number `n`: its cursor is (n, 0) and its status {"n": n}."""
    event = StatusEvent(service, n, msgspec.Raw(encode({"n": n})), instance, **more)
    return Entry(Cursor(n, 0), event)


def lifecycle(n: int, event: str, service: str = "a", instance: str = "", seen: int = 0) -> Entry:
    """Return a lifecycle event of an instance, with the cursor (n, 0)."""
    incident = Incident(f"{n}-0", service, instance, seen, n, "silent") if event == "lost" else None
    return Entry(Cursor(n, 0), LifecycleEvent(service, instance, n, event, incident))


def reset(
    at: int, *board: Entry, heartbeats: Iterable[Heartbeat] = (), reason: str = "the server started"
) -> Reset:
    return Reset(reason, Cursor(at, 0), list(board), list(heartbeats))


@pytest.fixture(autouse=True)
def unsliced_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep each flush in one slice, also on a busy machine.

    Most of these tests have no event loop in which a flush could continue.
    """
    monkeypatch.setattr("pulseboard.hub.fan_out.SLICE_S", float("inf"))


@pytest.fixture
def rejections() -> Rejections:
    return Rejections()


@pytest.fixture
def hub(rejections: Rejections) -> Hub:
    """Return a hub that expects the service `a` and has no board yet."""
    options = HubOptions(version="1.2.3")
    return Hub(Board(["a"]), RedisClock(), rejections, options, replay=SilentReplay())


class SilentReplay:
    """A feed replay that never returns."""

    async def read(self, since: Cursor, bound: Cursor) -> tuple[list[Entry], Cursor] | None:
        await _Suspended()
        raise AssertionError("the replay never returns")


class _Suspended:
    def __await__(self) -> Generator[None, None, None]:
        yield


def attach(hub: Hub, connection: Connection, since: Cursor | None = None) -> bool:
    """Attach a connection; return False if that waits for a read from Redis."""
    attaching = hub.attach(connection, since)
    try:
        attaching.send(None)
    except StopIteration:
        return True
    attaching.close()
    return False


def attach_sink(
    hub: Hub, view: View | None = None, *, since: Cursor | None = None, sink: ListSink | None = None
) -> ListSink:
    """Attach one more client and return the sink that receives its bytes."""
    sink = sink or ListSink()
    attach(hub, Connection(view or View(), sink), since)
    return sink


async def eventually(condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
    """Poll until a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
