"""Resume on any server, from the ring or Redis: each event once, or a reset with its reason."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import redis
from tests.support.server import (
    LIMIT_S,
    ExternalPublisher,
    Message,
    ServeFixture,
    Server,
    Stream,
    eventually,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.feed import queries
from pulseboard.bus.keys import Keys
from pulseboard.hub import resume


def is_status(message: Message) -> bool:
    return message.event == "status"


def numbers(messages: list[Message]) -> list[int]:
    return [message.data["status"]["n"] for message in messages if is_status(message)]


async def read_status(stream: Stream, count: int) -> list[Message]:
    return [await stream.until(is_status) for _ in range(count)]


async def publish_and_collect_ids(
    server: Server, publish: ExternalPublisher, count: int, first: int = 0
) -> list[str]:
    """Publish `count` events and return their ids."""
    async with await server.open() as stream:
        await stream.next()
        for n in range(first, first + count):
            publish("balance-sync", n=n)
        messages = await read_status(stream, count)
    assert numbers(messages) == list(range(first, first + count))
    return [str(message.id) for message in messages]


@pytest.fixture
def ring_of_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start servers with one event in their ring, so that missed events are read from Redis."""
    monkeypatch.setattr(queries, "RECENT_MAX", 1)


@pytest.fixture
async def fresh_server(
    server: Server,
    publish: ExternalPublisher,
    serve: ServeFixture,
    address: RedisAddress,
    http: Any,
    ring_of_one_event: None,
) -> tuple[list[str], Server]:
    """Return the ids of ten events and a server that started after them."""
    ids = await publish_and_collect_ids(server, publish, 10)
    other = serve(address, http=http)
    await eventually(other.is_ready)
    return ids, other


async def test_server_that_started_later_resumes_from_redis(
    fresh_server: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh_server
    async with await other.open(f"/api/stream?since={ids[3]}") as stream:
        first = [await stream.next() for _ in range(8)]
        publish("balance-sync", n=10)
        (live,) = await read_status(stream, 1)
    assert [message.event for message in first[:2]] == ["heartbeats", "ping"]
    assert [message.id for message in first] == [ids[3], ids[3], *ids[4:]]
    assert live.data["status"] == {"n": 10}


async def test_status_stream_resumes_from_redis_too(
    fresh_server: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh_server
    async with await other.open(
        "/api/services/status/stream", head=f"Last-Event-ID: {ids[6]}\r\n"
    ) as stream:
        missed = [await stream.next() for _ in range(3)]
        publish("balance-sync", n=10)
        live = await stream.next()
    assert [message.id for message in missed] == ids[7:]
    assert [message.data["status"]["n"] for message in [*missed, live]] == [7, 8, 9, 10]
    assert set(live.data) == {"service", "timestamp", "status"}


async def test_client_that_missed_no_event_receives_no_event_twice(
    fresh_server: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh_server
    async with await other.open(f"/api/stream?since={ids[-1]}") as stream:
        publish("balance-sync", n=10)
        messages = [await stream.next() for _ in range(3)]
    assert numbers(messages) == [10]
    assert "board" not in [message.event for message in messages]


async def test_clients_that_return_after_a_restart_cause_no_reads_from_redis(
    server: Server,
    publish: ExternalPublisher,
    serve: ServeFixture,
    address: RedisAddress,
    raw: redis.Redis,
) -> None:
    ids = await publish_and_collect_ids(server, publish, 10)
    other = serve(address)
    await eventually(other.is_ready)
    raw.config_resetstat()
    for since in range(9):
        async with await other.open(f"/api/stream?since={ids[since]}") as stream:
            first = [await stream.next() for _ in range(12 - since)]
        assert [message.event for message in first] == [
            "heartbeats",
            "ping",
            *["status"] * (9 - since),
            "heartbeats",
        ]
        assert [message.id for message in first[2:-1]] == ids[since + 1 :]
    stats: Any = raw.info("commandstats")
    assert "cmdstat_xrange" not in stats


@pytest.mark.usefixtures("ring_of_one_event")
async def test_filters_apply_to_events_that_are_read_from_redis(
    server: Server, publish: ExternalPublisher, serve: ServeFixture
) -> None:
    (start,) = await publish_and_collect_ids(server, publish, 1)
    for n in range(1, 7):
        publish("report" if n % 2 else "balance-sync", n=n)
    publish("report", n=7)
    await eventually(lambda: server.get("/api/services/status").json().get("report") == {"n": 7})
    other = serve(server.runtime.settings.address)
    await eventually(other.is_ready)
    async with await other.open(
        f"/api/stream?services=report&kinds=status&since={start}"
    ) as stream:
        assert numbers(await read_status(stream, 4)) == [1, 3, 5, 7]


@pytest.mark.parametrize("source", ["?since={}", "?lastEventId={}", "header", "status stream"])
@pytest.mark.parametrize(
    "since", ["yesterday", "1-0\r\nevil: 1", "9" * 400, "1-0-0", "-1", "1-0", "99999999999999-7"]
)
async def test_invalid_or_trimmed_id_gives_a_reset_and_never_an_error(
    server: Server,
    publish: ExternalPublisher,
    raw: redis.Redis,
    keys: Keys,
    since: str,
    source: str,
) -> None:
    """An EventSource that receives an error response never reconnects."""
    await publish_and_collect_ids(server, publish, 3)
    raw.xtrim(keys.feed, maxlen=2, approximate=False)
    head, path = "", "/api/stream"
    if source.startswith("?"):
        path += source.format(quote(since))
    else:
        head = f"Last-Event-ID: {since.splitlines()[0]}\r\n"
        path = "/api/services/status/stream" if source == "status stream" else path
    async with await server.open(path, head=head) as stream:
        assert stream.status == 200
        first = await stream.next()
        if source == "status stream":
            assert "balanceSync" in first.data
        else:
            assert (first.event, bool(first.data["reason"])) == ("reset", True)
            assert (await stream.next()).event == "board"
        publish("balance-sync", n=3)
        await stream.until(lambda message: message.data.get("status") == {"n": 3})


async def test_trimmed_id_gives_a_reset(
    fresh_server: tuple[list[str], Server], raw: redis.Redis, keys: Keys
) -> None:
    ids, other = fresh_server
    raw.xtrim(keys.feed, maxlen=5, approximate=False)
    async with await other.open(f"/api/stream?since={ids[3]}") as stream:
        assert [(await stream.next()).event for _ in range(2)] == ["reset", "board"]
    # The page's replacement for EventSource repeats the old URL and adds its position.
    for query in (f"since={ids[5]}", f"since={ids[3]}&lastEventId={ids[5]}"):
        async with await other.open(f"/api/stream?{query}") as stream:
            assert [message.id for message in await read_status(stream, 4)] == ids[6:]


async def test_more_missed_events_than_the_limit_give_a_reset(
    fresh_server: tuple[list[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, other = fresh_server
    monkeypatch.setattr(resume, "MAX_EVENTS", 5)
    async with await other.open(f"/api/stream?since={ids[3]}") as stream:
        reset = await stream.until(lambda message: message.event in ("status", "reset"))
        assert (reset.event, "missed" in reset.data["reason"]) == ("reset", True)
        assert (await stream.next()).event == "board"
    async with await other.open(f"/api/stream?since={ids[4]}") as stream:
        assert [message.id for message in await read_status(stream, 5)] == ids[5:]


async def test_clients_that_return_together_each_receive_all_missed_events(
    fresh_server: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh_server

    async def resume_from(since: int) -> list[str | None]:
        async with await other.open(f"/api/stream?since={ids[since]}") as stream:
            return [message.id for message in await read_status(stream, 9 - since)]

    positions = [n % 9 for n in range(90)]
    assert await asyncio.gather(*map(resume_from, positions)) == [
        ids[position + 1 :] for position in positions
    ]


def large_publisher(raw: redis.Redis, prefix: str, count: int) -> Callable[[], None]:
    """Return a function that publishes `count` events of 30 kB."""

    def publish() -> None:
        with raw.pipeline(transaction=False) as pipeline:
            for n in range(count):
                update = {
                    "service": "balance-sync",
                    "timestamp": 1,
                    "status": {"n": n, "text": "x" * 30_000},
                }
                pipeline.publish(prefix + "balance-sync", json.dumps(update))
            pipeline.execute()

    return publish


async def test_slow_client_receives_a_long_replay_and_frozen_client_is_closed(
    server: Server,
    publish: ExternalPublisher,
    serve: ServeFixture,
    raw: redis.Redis,
    prefix: str,
    http: Any,
) -> None:
    """The client missed 12 MB: more than all buffers between server and client hold."""
    (start,) = await publish_and_collect_ids(server, publish, 1, first=-1)
    await asyncio.to_thread(large_publisher(raw, prefix, 400))
    await eventually(
        lambda: server.get("/api/services/status").json()["balanceSync"].get("n") == 399
    )
    other = serve(server.runtime.settings.address, http=http, write_deadline_s=1.0)
    await eventually(other.is_ready)
    with socket.socket() as frozen:
        frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        frozen.connect(("127.0.0.1", other.port))
        frozen.sendall(
            f"GET /api/stream?since={start} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", other.port, limit=4_096)
        async with Stream(reader, writer) as slow:
            await slow.request(f"/api/stream?since={start}")
            assert numbers(await read_status(slow, 400)) == list(range(400))
        # The remaining connection is the one that reads /healthz.
        await eventually(lambda: len(other.connections) <= 1)


async def test_disconnect_during_a_replay_leaves_no_task_after_a_lost_cancellation(
    fresh_server: tuple[list[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before Python 3.12 `wait_for` in redis-py can lose a cancellation (cpython #86296).

    This happens when the cancellation arrives together with the reply. The replay went on and
    waited for room on a closed connection, and the server waited for the replay when it stopped.
    """
    ids, other = fresh_server
    monkeypatch.setattr("pulseboard.bus.feed.replay.PAGE", 3)
    replay: Any = other.runtime.hub._replay
    read: Any = replay._script
    reading = threading.Event()

    async def swallow_cancellation(**arguments: Any) -> object:
        answer = await read(**arguments)
        reading.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return answer

    before = other.health()["tasks"]
    monkeypatch.setattr(replay, "_script", swallow_cancellation)
    async with await other.open(f"/api/stream?since={ids[0]}"):
        await asyncio.to_thread(reading.wait, LIMIT_S)
    await eventually(lambda: other.health()["tasks"] == before)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
