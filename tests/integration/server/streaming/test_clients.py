"""Slow, dead or many clients do not affect other clients."""

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


async def test_frozen_client_uses_no_memory_delays_no_other_and_is_closed(
    serve: ServeFixture, address: RedisAddress, http: Any, raw: redis.Redis, prefix: str
) -> None:
    any_server = serve(address, http=http, write_deadline_s=0.5)
    await eventually(any_server.is_ready)
    with open_frozen(any_server.port) as frozen:
        async with await any_server.open("/api/services/status/stream") as stream:
            await stream.next()
            await eventually(lambda: any_server.health()["clients"] == 2)
            # 300 messages of 30 kB are 9 MB.
            publishing = asyncio.create_task(asyncio.to_thread(publish_large, raw, prefix, 300))
            assert [(await stream.next()).data["status"]["n"] for _ in range(300)] == list(
                range(300)
            )
            await publishing
        await eventually(lambda: any_server.health()["clients"] == 0)
        # Before the server closed it, the client was sent what the socket buffers and one write
        # hold, not all 9 MB.
        assert len(await asyncio.to_thread(_read_until_closed, frozen)) < 6_000_000


def _read_until_closed(sock: socket.socket) -> bytes:
    sock.settimeout(5)
    read = b""
    try:
        while data := sock.recv(65_536):
            read += data
    except ConnectionResetError:
        pass
    return read


async def test_slow_client_receives_or_counts_every_event_that_it_missed(
    any_server: Server, raw: redis.Redis, prefix: str
) -> None:
    """40 MB are published while the client does not read: more than the ring holds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", any_server.port, limit=4_096)
    stream = Stream(reader, writer)
    async with stream:
        await stream.request("/api/stream")
        assert (await stream.next()).event == "board"
        batch = MAX_BYTES // 30_000 // 3
        for round_number in range(4):
            await asyncio.to_thread(publish_large, raw, prefix, batch, round_number * batch)
        last = 4 * batch - 1
        await eventually(
            lambda: (
                any_server.get("/api/services/status").json()["balanceSync"].get("n") == last
                and any_server.runtime.hub.ring.first > 0
            )
        )
        received: list[tuple[str | None, Any]] = []
        async with asyncio.timeout(20):
            while (
                not received
                or not _contains_number(received[-1], last)
                or "skipped" not in [event for event, _ in received]
            ):
                message = await stream.next()
                received.append((message.event, message.data))
        events = [event for event, _ in received]
        assert events[events.index("skipped") + 1] == "board"
        # Each event was delivered or counted as skipped.
        counted = sum(data["skipped"]["status"] for event, data in received if event == "skipped")
        assert counted + events.count("status") == last + 1


def _contains_number(message: tuple[str | None, Any], number: int) -> bool:
    event, data = message
    return event in ("board", "status") and f'"n": {number},' in str(data).replace("'", '"')


async def test_two_hundred_clients_receive_the_same_updates(
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


async def test_update_reaches_an_open_stream_without_delay(
    server: Server, publish: ExternalPublisher
) -> None:
    async with await server.open("/api/services/status/stream") as stream:
        await stream.next()
        started = time.monotonic()
        for n in range(20):
            publish("balance-sync", n=n)
            await stream.next()
        # If each update waited for a periodic timer of the server, 20 updates would take longer.
        assert time.monotonic() - started < 5
