"""Coming back: on any server, from the ring or from Redis, each event once; or a reset that says why not."""

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


async def ids_of(
    server: Server, publish: ExternalPublisher, count: int, first: int = 0
) -> list[str]:
    """Publish so many events and return their ids."""
    async with await server.open() as stream:
        await stream.next()
        for n in range(first, first + count):
            publish("balance-sync", n=n)
        messages = await read_status(stream, count)
    assert numbers(messages) == list(range(first, first + count))
    return [str(message.id) for message in messages]


@pytest.fixture
def nothing_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers start with the last event alone in their ring, so that what was missed must be read from Redis."""
    monkeypatch.setattr(queries, "RECENT_MAX", 1)


@pytest.fixture
async def fresh(
    server: Server,
    publish: ExternalPublisher,
    serve: ServeFixture,
    address: RedisAddress,
    http: Any,
    nothing_read_ahead: None,
) -> tuple[list[str], Server]:
    """The ids of ten events, and a server that started after them: its ring holds none."""
    ids = await ids_of(server, publish, 10)
    other = serve(address, http=http)
    await eventually(other.is_ready)
    return ids, other


async def test_a_server_that_started_since_resumes_from_redis(
    fresh: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh
    async with await other.open(f"/api/stream?since={ids[3]}") as stream:
        first = [await stream.next() for _ in range(8)]
        publish("balance-sync", n=10)
        (live,) = await read_status(stream, 1)
    assert [message.event for message in first[:2]] == ["heartbeats", "ping"]
    assert [message.id for message in first] == [ids[3], ids[3], *ids[4:]]
    assert live.data["status"] == {"n": 10}


async def test_the_seeds_stream_resumes_from_redis_as_well(
    fresh: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh
    async with await other.open(
        "/api/services/status/stream", head=f"Last-Event-ID: {ids[6]}\r\n"
    ) as stream:
        missed = [await stream.next() for _ in range(3)]
        publish("balance-sync", n=10)
        live = await stream.next()
    assert [message.id for message in missed] == ids[7:]
    assert [message.data["status"]["n"] for message in [*missed, live]] == [7, 8, 9, 10]
    assert set(live.data) == {"service", "timestamp", "status"}


async def test_one_that_missed_nothing_is_sent_nothing_twice(
    fresh: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh
    async with await other.open(f"/api/stream?since={ids[-1]}") as stream:
        publish("balance-sync", n=10)
        messages = [await stream.next() for _ in range(3)]
    assert numbers(messages) == [10]
    assert "board" not in [message.event for message in messages]


async def test_a_crowd_that_comes_back_after_a_restart_asks_redis_nothing(
    server: Server,
    publish: ExternalPublisher,
    serve: ServeFixture,
    address: RedisAddress,
    raw: redis.Redis,
) -> None:
    ids = await ids_of(server, publish, 10)
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


@pytest.mark.usefixtures("nothing_read_ahead")
async def test_filters_hold_for_what_is_read_from_redis(
    server: Server, publish: ExternalPublisher, serve: ServeFixture
) -> None:
    (start,) = await ids_of(server, publish, 1)
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


@pytest.mark.parametrize("way", ["?since={}", "?lastEventId={}", "header", "seed"])
@pytest.mark.parametrize(
    "since", ["yesterday", "1-0\r\nevil: 1", "9" * 400, "1-0-0", "-1", "1-0", "99999999999999-7"]
)
async def test_no_id_whatever_it_is_gives_a_silent_gap_or_an_error(
    server: Server, publish: ExternalPublisher, raw: redis.Redis, keys: Keys, since: str, way: str
) -> None:
    """An EventSource takes an error for the last word and never comes back."""
    await ids_of(server, publish, 3)
    raw.xtrim(keys.feed, maxlen=2, approximate=False)
    head, path = "", "/api/stream"
    if way.startswith("?"):
        path += way.format(quote(since))
    else:
        head = f"Last-Event-ID: {since.splitlines()[0]}\r\n"
        path = "/api/services/status/stream" if way == "seed" else path
    async with await server.open(path, head=head) as stream:
        assert stream.status == 200
        first = await stream.next()
        if way == "seed":
            assert "balanceSync" in first.data
        else:
            assert (first.event, bool(first.data["reason"])) == ("reset", True)
            assert (await stream.next()).event == "board"
        publish("balance-sync", n=3)
        await stream.until(lambda message: message.data.get("status") == {"n": 3})


async def test_what_was_trimmed_is_a_reset(
    fresh: tuple[list[str], Server], raw: redis.Redis, keys: Keys
) -> None:
    ids, other = fresh
    raw.xtrim(keys.feed, maxlen=5, approximate=False)
    async with await other.open(f"/api/stream?since={ids[3]}") as stream:
        assert [(await stream.next()).event for _ in range(2)] == ["reset", "board"]
    # What stands in for EventSource repeats the older address, and adds where it is.
    for query in (f"since={ids[5]}", f"since={ids[3]}&lastEventId={ids[5]}"):
        async with await other.open(f"/api/stream?{query}") as stream:
            assert [message.id for message in await read_status(stream, 4)] == ids[6:]


async def test_more_than_is_worth_reading_is_a_reset(
    fresh: tuple[list[str], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, other = fresh
    monkeypatch.setattr(resume, "MAX_EVENTS", 5)
    async with await other.open(f"/api/stream?since={ids[3]}") as stream:
        reset = await stream.until(lambda message: message.event in ("status", "reset"))
        assert (reset.event, "missed" in reset.data["reason"]) == ("reset", True)
        assert (await stream.next()).event == "board"
    async with await other.open(f"/api/stream?since={ids[4]}") as stream:
        assert [message.id for message in await read_status(stream, 5)] == ids[5:]


async def test_a_crowd_that_comes_back_at_once_gets_all_of_it_each(
    fresh: tuple[list[str], Server], publish: ExternalPublisher
) -> None:
    ids, other = fresh

    async def come_back(since: int) -> list[str | None]:
        async with await other.open(f"/api/stream?since={ids[since]}") as stream:
            return [message.id for message in await read_status(stream, 9 - since)]

    places = [n % 9 for n in range(90)]
    assert await asyncio.gather(*map(come_back, places)) == [ids[place + 1 :] for place in places]


def fill(raw: redis.Redis, prefix: str, count: int) -> Callable[[], None]:
    """Return what publishes so many large events."""

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


async def test_a_reader_that_is_slow_to_take_what_it_missed_gets_it_and_one_that_is_frozen_is_let_go(
    server: Server,
    publish: ExternalPublisher,
    serve: ServeFixture,
    raw: redis.Redis,
    prefix: str,
    http: Any,
) -> None:
    """12 MB were missed: more than all buffers on the way hold."""
    (start,) = await ids_of(server, publish, 1, first=-1)
    await asyncio.to_thread(fill(raw, prefix, 400))
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
        # What is left is the connection that health is asked on.
        await eventually(lambda: len(other.connections) <= 1)


async def test_a_reader_that_hangs_up_while_its_past_is_read_leaves_nothing_behind_though_the_driver_loses_that(
    fresh: tuple[list[str], Server],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before Python 3.12 `wait_for` in redis-py loses a cancellation that comes with the answer (cpython #86296).

    What went on then waited for room on a connection that was gone, and the server for it when it was to end.
    """
    ids, other = fresh
    monkeypatch.setattr("pulseboard.bus.feed.replay.PAGE", 3)
    replay: Any = other.runtime.hub._replay
    read: Any = replay._script
    reading = threading.Event()

    async def lose(**arguments: Any) -> object:
        answer = await read(**arguments)
        reading.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return answer

    before = other.health()["tasks"]
    monkeypatch.setattr(replay, "_script", lose)
    async with await other.open(f"/api/stream?since={ids[0]}"):
        await asyncio.to_thread(reading.wait, LIMIT_S)
    await eventually(lambda: other.health()["tasks"] == before)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
