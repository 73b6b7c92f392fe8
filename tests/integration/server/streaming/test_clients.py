"""Readers that are slow, dead or many change nothing for the others."""

import asyncio
import socket
import time
from typing import Any

import redis
from tests.support.server import (
    ExternalPublisher,
    ServeFixture,
    Server,
    Stream,
    eventually,
    open_frozen,
    publish_large,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.hub.ring import MAX_BYTES


async def test_a_frozen_reader_costs_no_memory_delays_nobody_and_is_let_go(
    serve: ServeFixture, address: RedisAddress, http: Any, raw: redis.Redis, prefix: str
) -> None:
    any_server = serve(address, http=http, write_deadline_s=0.5)
    await eventually(any_server.is_ready)
    with open_frozen(any_server.port) as frozen:
        async with await any_server.open("/api/services/status/stream") as stream:
            await stream.next()
            await eventually(lambda: any_server.health()["clients"] == 2)
            publishing = asyncio.create_task(
                asyncio.to_thread(publish_large, raw, prefix, 300)
            )  # 9 MB
            assert [(await stream.next()).data["status"]["n"] for _ in range(300)] == list(
                range(300)
            )
            await publishing
        await eventually(lambda: any_server.health()["clients"] == 0)
        # What was sent before it was let go is what the sockets' buffers and one write hold, not all there was.
        assert len(await asyncio.to_thread(_drain, frozen)) < 6_000_000


def _drain(sock: socket.socket) -> bytes:
    sock.settimeout(5)
    read = b""
    try:
        while data := sock.recv(65_536):
            read += data
    except ConnectionResetError:
        pass
    return read


async def test_a_slow_reader_that_fell_behind_gets_it_all_or_is_told(
    any_server: Server, raw: redis.Redis, prefix: str
) -> None:
    """40 MB go by while it does not read: more than the ring holds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", any_server.port, limit=4_096)
    stream = Stream(reader, writer)
    async with stream:
        await stream.request("/api/stream")
        assert (await stream.next()).event == "board"
        batch = MAX_BYTES // 30_000 // 3
        for turn in range(4):
            await asyncio.to_thread(publish_large, raw, prefix, batch, turn * batch)
        last = 4 * batch - 1
        await eventually(
            lambda: (
                any_server.get("/api/services/status").json()["balanceSync"].get("n") == last
                and any_server.runtime.hub.ring.first > 0
            )
        )
        seen: list[tuple[str | None, Any]] = []
        async with asyncio.timeout(20):
            while (
                not seen
                or not _shows(seen[-1], last)
                or "skipped" not in [event for event, _ in seen]
            ):
                message = await stream.next()
                seen.append((message.event, message.data))
        events = [event for event, _ in seen]
        assert events[events.index("skipped") + 1] == "board"
        # Each event was shown or counted.
        counted = sum(data["skipped"]["status"] for event, data in seen if event == "skipped")
        assert counted + events.count("status") == last + 1


def _shows(message: tuple[str | None, Any], number: int) -> bool:
    event, data = message
    return event in ("board", "status") and f'"n": {number},' in str(data).replace("'", '"')


async def test_two_hundred_readers_all_see_the_same(
    server: Server, publish: ExternalPublisher
) -> None:
    streams = await asyncio.gather(
        *[server.open("/api/services/status/stream") for _ in range(200)]
    )
    assert server.health()["clients"] == 200
    updates = [publish("balance-sync", n=n) for n in range(20)]

    async def read(stream: Stream) -> list[object]:
        return [(await stream.next()).data for _ in range(21)][1:]

    assert await asyncio.gather(*[read(stream) for stream in streams]) == [updates] * 200
    for stream in streams:
        stream.close()
    await eventually(lambda: server.health()["clients"] == 0)


async def test_an_update_reaches_an_open_stream_without_waiting_for_anything(
    server: Server, publish: ExternalPublisher
) -> None:
    async with await server.open("/api/services/status/stream") as stream:
        await stream.next()
        started = time.monotonic()
        for n in range(20):
            publish("balance-sync", n=n)
            await stream.next()
        assert (
            time.monotonic() - started < 5
        )  # one that waited for a tick of any clock here would take 20 of them
