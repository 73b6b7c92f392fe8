"""Helpers for tests of the bus: a proxy that fails, feed readers, ingestors, and waiting."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
import redis
from tests.support.valkey import run_valkey

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.feed.entries import Batch, Entry, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.feed.reader import FeedReader
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.rejections import Rejections
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.wire.events.command import Command, ExternalCommand
from pulseboard.wire.events.status import StatusEvent

TIMEOUT_S = 20.0


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {TIMEOUT_S:.0f} s"
        await asyncio.sleep(0.01)


class _ConnectionClosed(Exception):
    """One side of a connection was closed."""


class Proxy:
    """A TCP proxy in front of Redis that can freeze or cut connections.

    A frozen connection stays open and carries no more bytes. A cut falls between a request and its
    response.
    """

    def __init__(self, target: RedisAddress) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._frozen: set[asyncio.Task[None]] = set()
        self._cut_after: bytes | None = None
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    @property
    def address(self) -> RedisAddress:
        assert self._server is not None
        return RedisAddress(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """The number of open connections that are not frozen."""
        return len(self._connections - self._frozen)

    def freeze(self) -> None:
        """Discard all further data on the open connections; new connections work.

        A router that lost its connection table behaves like this.
        """
        self._frozen |= self._connections

    def cut_after(self, request: bytes) -> None:
        """Cut the next connection that sends `request`, instead of forwarding its response.

        Redis has executed the request by then.
        """
        self._cut_after = request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        upstream: asyncio.StreamWriter | None = None
        cut_response = asyncio.Event()
        try:
            responses, upstream = await asyncio.open_connection(
                self._target.host, self._target.port
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    self._forward(connection, reader, upstream, cut_response, is_request=True)
                )
                tasks.create_task(
                    self._forward(connection, responses, writer, cut_response, is_request=False)
                )
        except* (OSError, _ConnectionClosed):
            pass
        finally:
            self._connections.discard(connection)
            self._frozen.discard(connection)
            for side in (writer, upstream):
                if side is not None:
                    side.close()

    async def _forward(
        self,
        connection: asyncio.Task[None],
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        cut_response: asyncio.Event,
        *,
        is_request: bool,
    ) -> None:
        while data := await source.read(1 << 20):
            if connection in self._frozen:
                continue
            if is_request and self._cut_after is not None and self._cut_after in data:
                self._cut_after = None
                cut_response.set()
            elif cut_response.is_set() and not is_request:
                self.cuts += 1
                break
            sink.write(data)
            await sink.drain()
        raise _ConnectionClosed


def numbers_of(entries: Iterable[Entry]) -> list[int]:
    """Return the `n` of each status event among these entries."""
    events = [entry.event for entry in entries]
    return [
        json.loads(bytes(event.status))["n"] for event in events if isinstance(event, StatusEvent)
    ]


class RecordingReader:
    """A feed reader that records every item."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self.clock = RedisClock()
        self.rejections = Rejections()
        self.items: list[Batch | Reset | FeedUnavailable] = []
        self._feed = FeedReader(address, keys, self.clock, self.rejections)

    @property
    def entries(self) -> list[Entry]:
        """Every event since the last reset, without the board of the reset."""
        return [
            entry
            for item in self._since_reset()
            if isinstance(item, Batch)
            for entry in item.entries
        ]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        return [
            heartbeat
            for item in self._since_reset()
            if isinstance(item, Batch)
            for heartbeat in item.heartbeats
        ]

    @property
    def resets(self) -> list[Reset]:
        return [item for item in self.items if isinstance(item, Reset)]

    @property
    def outages(self) -> list[FeedUnavailable]:
        return [item for item in self.items if isinstance(item, FeedUnavailable)]

    @property
    def numbers(self) -> list[int]:
        """The `n` of each event, in order."""
        return numbers_of(self.entries)

    @property
    def is_available(self) -> bool:
        """Whether the last item shows that the feed is available."""
        return bool(self.items) and not isinstance(self.items[-1], FeedUnavailable)

    async def run(self) -> None:
        async with contextlib.aclosing(self._feed.read()) as items:
            async for item in items:
                self.items.append(item)

    def _since_reset(self) -> list[Batch | Reset | FeedUnavailable]:
        resets = [index for index, item in enumerate(self.items) if isinstance(item, Reset)]
        return self.items[resets[-1] + 1 :] if resets else self.items


@asynccontextmanager
async def running(*loops: Any) -> AsyncIterator[None]:
    """Run coroutines during the test; cancel them at its end, and fail if one ended before."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
        for task in tasks:
            assert not task.done(), f"the task ended before the test: {task}"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_reader(address: RedisAddress, keys: Keys) -> AsyncIterator[RecordingReader]:
    """Read the feed within the context, which is entered after the first board."""
    reader = RecordingReader(address, keys)
    async with running(reader.run()):
        await eventually(lambda: reader.resets)
        yield reader


async def fail_on_command(command: ExternalCommand) -> Command:
    """Route no command; for ingestors of tests that publish none."""
    raise AssertionError(f"unexpected command {command.command}")


@asynccontextmanager
async def ingesting(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    count: int = 1,
    rejections: Rejections | None = None,
) -> AsyncIterator[list[Ingestor]]:
    """Run `count` ingestors; the context is entered after all of them have subscribed."""
    async with contextlib.AsyncExitStack() as clients:
        ingestors = [
            Ingestor(
                await clients.enter_async_context(BusClient(address, keys)),
                rejections or Rejections(),
                route_command=fail_on_command,
                prefix=prefix,
            )
            for _ in range(count)
        ]
        async with running(*(ingestor.run() for ingestor in ingestors)):
            for ingestor in ingestors:
                await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
            yield ingestors


def event(service: str = "balance-sync", instance: str = "w-1", n: int = 0, **more: Any) -> bytes:
    """Return an event's JSON as the SDK writes it."""
    fields = {
        "service": service,
        "timestamp": 1_765_584_000_000,
        "status": {"n": n},
        "instance": instance,
    }
    return json.dumps(fields | more, separators=(",", ":")).encode()


def outgoing(service: str = "balance-sync", instance: str = "w-1", n: int = 0) -> Outgoing:
    return Outgoing(service, instance, event(service, instance, n))


@pytest.fixture
def publisher(address: RedisAddress, keys: Keys, prefix: str) -> Iterator[Publisher]:
    publisher = Publisher(address, keys, prefix=prefix)
    yield publisher
    publisher.close()


@pytest.fixture
async def bus(address: RedisAddress, keys: Keys) -> AsyncIterator[BusClient]:
    async with BusClient(address, keys) as bus:
        yield bus


@pytest.fixture
async def proxy(address: RedisAddress) -> AsyncIterator[Proxy]:
    async with Proxy(address) as proxy:
        yield proxy


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """Run a Valkey that the test may stop, freeze and empty."""
    with run_valkey() as server:
        yield server


def restart(valkey: EmbeddedValkey, *, keep: bool = True) -> EmbeddedValkey:
    """Stop the server and return its successor at the same port, with or without its data.

    The caller enters the returned server.
    """
    valkey.stop()
    if not keep:
        for file in sorted(valkey.data_dir.rglob("*"), reverse=True):
            if file.is_dir():
                file.rmdir()
            else:
                file.unlink()
    return EmbeddedValkey(valkey.data_dir, port=valkey.address.port)


def history(raw: redis.Redis, keys: Keys, service: str = "balance-sync") -> list[dict[str, Any]]:
    """Return the statuses in the history of a service."""
    rows: Any = raw.xrange(keys.history(service))
    return [json.loads(fields[b"data"])["status"] for _, fields in rows]


def lifecycle_events(raw: redis.Redis, keys: Keys) -> list[dict[str, Any]]:
    """Return the lifecycle events in the feed."""
    rows: Any = raw.xrange(keys.feed)
    return [json.loads(fields[b"data"]) for _, fields in rows if fields[b"kind"] == b"lifecycle"]


def external_message(n: int = 0, service: str = "balance-sync", **more: Any) -> bytes:
    """Return an external message in the shape of the original specification."""
    return json.dumps(
        {"service": service, "timestamp": 1_765_584_000_000, "status": {"n": n}} | more
    ).encode()


def publish(raw: redis.Redis, prefix: str, payload: bytes, service: str = "balance-sync") -> None:
    raw.publish(f"{prefix}{service}", payload)


async def wait_until_ingested(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    """Publish one more message and wait until it is ingested: then all earlier ones are too."""
    publish(raw, prefix, external_message(-1, "last-message"), "last-message")
    await eventually(lambda: history(raw, keys, "last-message"))
