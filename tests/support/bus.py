"""A link that can be frozen or cut, readers and adopters that run, and waiting for what must come."""

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
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


class _LinkEnd(Exception):
    """One side of a link closed."""


class Proxy:
    """A TCP relay to Redis, to be frozen (no error, no byte) or cut between a request and its answer."""

    def __init__(self, target: RedisAddress) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._frozen: set[asyncio.Task[None]] = set()
        self._cut_after: bytes | None = None
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    @property
    def address(self) -> RedisAddress:
        assert self._server is not None
        return RedisAddress(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])

    @property
    def links(self) -> int:
        """How many links are open and flowing."""
        return len(self._links - self._frozen)

    def freeze(self) -> None:
        """Swallow what comes on the links there are, as a router that forgot them does. New links flow."""
        self._frozen |= self._links

    def cut_after(self, request: bytes) -> None:
        """Cut the link on which `request` is seen next, once Redis has answered it and before the answer is passed on."""
        self._cut_after = request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        back: asyncio.StreamWriter | None = None
        doomed = asyncio.Event()
        try:
            answers, back = await asyncio.open_connection(self._target.host, self._target.port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forward(link, reader, back, doomed, asking=True))
                tasks.create_task(self._forward(link, answers, writer, doomed, asking=False))
        except* (OSError, _LinkEnd):
            pass
        finally:
            self._links.discard(link)
            self._frozen.discard(link)
            for side in (writer, back):
                if side is not None:
                    side.close()

    async def _forward(
        self,
        link: asyncio.Task[None],
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        doomed: asyncio.Event,
        *,
        asking: bool,
    ) -> None:
        while data := await source.read(1 << 20):
            if link in self._frozen:
                continue
            if asking and self._cut_after is not None and self._cut_after in data:
                self._cut_after = None
                doomed.set()
            elif doomed.is_set() and not asking:
                self.cuts += 1
                break
            sink.write(data)
            await sink.drain()
        raise _LinkEnd


def numbers_of(entries: Iterable[Entry]) -> list[int]:
    """Return the `n` of each status among these."""
    events = [entry.event for entry in entries]
    return [
        json.loads(bytes(event.status))["n"] for event in events if isinstance(event, StatusEvent)
    ]


class RecordingReader:
    """A feed being read, and all that it gave."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self.clock = RedisClock()
        self.rejections = Rejections()
        self.items: list[Batch | Reset | FeedUnavailable] = []
        self._feed = FeedReader(address, keys, self.clock, self.rejections)

    @property
    def entries(self) -> list[Entry]:
        """Every event since the last reset, that one's board not included."""
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
        """Whether the last item was a sign of life."""
        return bool(self.items) and not isinstance(self.items[-1], FeedUnavailable)

    async def run(self) -> None:
        async with contextlib.aclosing(self._feed.read()) as items:
            async for item in items:
                self.items.append(item)

    def _since_reset(self) -> list[Batch | Reset | FeedUnavailable]:
        resets = [place for place, item in enumerate(self.items) if isinstance(item, Reset)]
        return self.items[resets[-1] + 1 :] if resets else self.items


@asynccontextmanager
async def running(*loops: Any) -> AsyncIterator[None]:
    """Run coroutines beside the test, and let none of them outlive it or fail unseen."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
        for task in tasks:
            assert not task.done(), f"it ended by itself: {task}"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_reader(address: RedisAddress, keys: Keys) -> AsyncIterator[RecordingReader]:
    """Read the feed while the context is entered; entered once the first board came."""
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
    """Run as many adopters as servers would; entered once all of them hear."""
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
    """A Valkey that this test may stop, freeze and empty."""
    with run_valkey() as server:
        yield server


def restart(valkey: EmbeddedValkey, *, keep: bool = True) -> EmbeddedValkey:
    """Stop the server and start it at the same place, with its data or without. The caller enters what is returned."""
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


def external_message(n: int = 0, service: str = "balance-sync", **more: Any) -> bytes:
    """Return the seed's message."""
    return json.dumps(
        {"service": service, "timestamp": 1_765_584_000_000, "status": {"n": n}} | more
    ).encode()


def publish(raw: redis.Redis, prefix: str, payload: bytes, service: str = "balance-sync") -> None:
    raw.publish(f"{prefix}{service}", payload)
