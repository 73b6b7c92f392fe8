"""Redis stopped, frozen, killed or empty: the server reports it, continues, and recovers."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.server import (
    EXPECTED,
    ExternalPublisher,
    Message,
    ServeFixture,
    Server,
    eventually,
)
from tests.support.valkey import free_port, run_valkey

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey


def is_blind(message: Message) -> bool:
    return message.event in ("ping", "board") and message.data["blind"] is not None


def is_sighted(message: Message) -> bool:
    return message.event in ("ping", "board") and message.data["blind"] is None


async def test_server_without_redis_reports_that_it_is_blind_and_recovers(
    serve: ServeFixture, tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    server = serve(RedisAddress(port=port))
    await eventually(lambda: server.get("/healthz").status_code == 200)
    answer = server.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
    assert answer.json()["code"] == "not-ready"
    assert server.get("/api/services/status").json()["balanceSync"] == {}
    async with (
        await server.open() as stream,
        await server.open("/api/services/status/stream") as status_stream,
    ):
        assert is_blind(await stream.next())
        assert (await status_stream.next()).data["balanceSync"] == {}
        with EmbeddedValkey(tmp_path, port=port):
            board = await stream.until(is_sighted)
            assert board.event == "board"
            await eventually(server.is_ready)
            outage = [record.name for record in caplog.records if record.levelname == "ERROR"]
            assert len(outage) == len(set(outage)), (
                "one log line for each outage, not for each attempt"
            )
            with redis.Redis(port=port) as raw:
                update = ExternalPublisher(raw, prefix)("balance-sync", n=1)
            assert (await stream.until(lambda message: message.event == "status")).data[
                "status"
            ] == {"n": 1}
            assert (
                await status_stream.until(lambda message: "service" in message.data)
            ).data == update


@pytest.mark.parametrize("since", ["0-0", "1-0", "1765584000000-0"])
async def test_client_that_resumes_before_redis_is_available_gets_a_reset_and_later_the_board(
    serve: ServeFixture, tmp_path: Path, since: str
) -> None:
    """With 0-0 the client received no byte until Redis started, and no board after that."""
    port = free_port()
    server = serve(RedisAddress(port=port))
    await eventually(lambda: server.get("/healthz").status_code == 200)
    async with await server.open(head=f"Last-Event-ID: {since}\r\n") as stream:
        reset, board = [await stream.next() for _ in range(2)]
        assert (reset.event, reset.data["reason"]) == (
            "reset",
            "the server has not reached Redis yet",
        )
        assert (board.event, is_blind(board)) == ("board", True)
        assert board.data["expect"] == list(EXPECTED)
        with EmbeddedValkey(tmp_path, port=port):
            board = await stream.until(is_sighted)
            assert board.event == "board"
    path = "/api/services/status/stream"
    async with await serve(RedisAddress(port=port)).open(
        path, head=f"Last-Event-ID: {since}\r\n"
    ) as stream:
        assert (await stream.next()).data["balanceSync"] == {}


async def test_server_notices_a_frozen_redis_and_its_return(
    serve: ServeFixture, prefix: str
) -> None:
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        assert valkey.pid is not None
        server = serve(valkey.address)
        await eventually(server.is_ready)
        async with await server.open() as stream:
            os.kill(valkey.pid, signal.SIGSTOP)
            try:
                blind = await stream.until(is_blind)  # within the limit of each read, 10 s
                assert blind.data["blind"]["reason"]
                assert server.get("/readyz").status_code == 503
                assert server.get("/healthz").status_code == 200
            finally:
                os.kill(valkey.pid, signal.SIGCONT)
            await stream.until(is_sighted)
            await eventually(server.is_ready)
            ExternalPublisher(raw, prefix)("balance-sync", n=1)
            assert (await stream.until(lambda message: message.event == "status")).data[
                "status"
            ] == {"n": 1}


async def test_board_survives_a_crash_of_the_embedded_redis(
    serve: ServeFixture, prefix: str
) -> None:
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        assert valkey.pid is not None
        server = serve(valkey.address)
        await eventually(server.is_ready)
        async with await server.open() as stream:
            ExternalPublisher(raw, prefix)("balance-sync", n=1)
            await stream.until(lambda message: message.event == "status")
            os.kill(valkey.pid, signal.SIGKILL)
            await stream.until(is_blind)
            await stream.until(is_sighted)
            await eventually(server.is_ready)
            assert server.get("/api/services/status").json()["balanceSync"] == {"n": 1}
            ExternalPublisher(raw, prefix)("balance-sync", n=2)
            status = await stream.until(lambda message: message.event in ("status", "reset"))
            assert (status.event, status.data["status"]) == ("status", {"n": 2})


async def test_redis_that_lost_its_data_causes_a_reset(serve: ServeFixture, prefix: str) -> None:
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        server = serve(valkey.address)
        await eventually(server.is_ready)
        async with await server.open() as stream:
            ExternalPublisher(raw, prefix)("balance-sync", n=1)
            await stream.until(lambda message: message.event == "status")
            raw.flushall()
            raw.client_kill_filter(_type="normal", skipme=True)
            reset = await stream.until(lambda message: message.event == "reset")
            board = await stream.next()
            assert reset.data["reason"]
            assert (board.event, board.data["instances"]) == ("board", [])


async def test_two_servers_show_the_same_board_and_each_external_message_once(
    serve: ServeFixture,
    address: RedisAddress,
    raw: redis.Redis,
    publish: ExternalPublisher,
    namespace: str,
) -> None:
    servers: list[Server] = [serve(address), serve(address)]
    for server in servers:
        await eventually(server.is_ready)
    async with await servers[0].open() as one, await servers[1].open() as other:
        # Messages with the same bytes are separate messages.
        updates = [publish("balance-sync", n=n) for n in (1, 2, 2, 2, 3)]
        publish("report", last=True)
        streams = []
        for stream in (one, other):
            await stream.next()
            statuses = [
                await stream.until(lambda message: message.event == "status") for _ in range(6)
            ]
            assert [status.data["status"] for status in statuses[:-1]] == [
                update["status"] for update in updates
            ]
            assert statuses[-1].data["service"] == "report"
            streams.append([(status.id, status.data) for status in statuses])
        assert streams[0] == streams[1]
    assert raw.xlen(f"{{{namespace}}}:status:balance-sync") == 5
    boards = [server.get("/api/services/status").json() for server in servers]
    assert boards[0] == boards[1]
    # A client of one server can resume on the other.
    async with await servers[1].open(f"/api/stream?since={streams[0][2][0]}") as stream:
        followed = [await stream.until(lambda message: message.event == "status") for _ in range(3)]
        assert [(status.id, status.data) for status in followed] == streams[0][3:]


@pytest.mark.parametrize("setting", [("maxmemory", "1mb"), ("min-replicas-to-write", "1")])
async def test_redis_that_rejects_writes_makes_the_server_blind_and_no_service_lost(
    serve: ServeFixture, prefix: str, namespace: str, setting: tuple[str, str]
) -> None:
    """Heartbeats could not be stored, and the server declared every service lost."""
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        server = serve(valkey.address)
        await eventually(server.is_ready)
        options: Any = {
            "redis_url": valkey.address.url,
            "namespace": namespace,
            "channel_prefix": prefix,
        }
        with Service("import", heartbeat_s=1, **options):
            async with await server.open() as stream:
                await stream.until(
                    lambda message: message.event == "heartbeats" and message.data["heartbeats"]
                )
                before: Any = raw.config_get(setting[0])
                raw.config_set(*setting)
                blind = await stream.until(is_blind)
                assert blind.data["blind"]["reason"]
                assert server.get("/readyz").status_code == 503
                raw.config_set(setting[0], before[setting[0]])
                await stream.until(is_sighted)
                await stream.until(
                    lambda message: message.event == "heartbeats" and message.data["heartbeats"]
                )
        assert server.get("/api/incidents").json() == {"incidents": []}


def has_gap(message: Message) -> bool:
    return message.event in ("ping", "board") and message.data["gap"] is not None


async def test_coverage_gap_is_reported_at_once_with_its_start_and_its_end(
    serve: ServeFixture, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis drops a slow subscriber and its pending messages; other connections stay."""
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.PING_EVERY_S", 0.1)
    monkeypatch.setattr("pulseboard.bus.ingest.coverage.COMPARE_AFTER_S", 0.3)
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        server = serve(valkey.address, ping_s=3_600.0)
        await eventually(server.is_ready)
        publish = ExternalPublisher(raw, prefix)
        async with await server.open() as stream:
            first = await stream.next()
            assert (first.event, first.data["gap"]) == ("board", None)
            publish("balance-sync", n=1)
            before = await stream.until(lambda message: message.event == "status")
            raw.client_kill_filter(_type="pubsub")
            publish("balance-sync", n=2)
            gap_opened = await stream.until(has_gap)
            assert gap_opened.data["gap"]["until"] is None
            assert gap_opened.data["blind"] is None
            gap_closed = await stream.until(
                lambda message: has_gap(message) and message.data["gap"]["until"] is not None
            )
            await eventually(server.is_ready)
            publish("balance-sync", n=3)
            after = await stream.until(lambda message: message.event == "status")
        assert after.data["status"] == {"n": 3}
        gap = gap_closed.data["gap"]
        assert gap["since"] == gap_opened.data["gap"]["since"] < gap["until"]
        assert int(str(before.id).split("-")[0]) - 5_000 < gap["since"] < gap["until"]
        assert server.health()["coverage_gaps"] == 1
        async with (
            await server.open() as late,
            await server.open(f"/api/stream?since={before.id}") as back,
        ):
            # The board may be a cached snapshot from before the gap; then a ping has the gap.
            assert (
                await late.until(lambda message: has_gap(message) and message.data["gap"]["until"])
            ).data["gap"] == gap
            assert (await back.until(lambda message: message.event == "ping")).data["gap"] == gap


async def test_gap_of_one_server_is_closed_by_the_coverage_of_the_other(
    serve: ServeFixture, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.PING_EVERY_S", 0.1)
    monkeypatch.setattr("pulseboard.bus.ingest.coverage.COMPARE_AFTER_S", 0.3)
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        servers = [serve(valkey.address, ping_s=3_600.0) for _ in range(2)]
        for server in servers:
            await eventually(server.is_ready)

        def subscribed_together() -> bool:
            spans: Any = [tuple(map(int, text.split())) for text in raw.hvals(keys.coverage)]
            return len(spans) == 2 and min(until for _, until in spans) > max(
                since for since, _ in spans
            )

        await eventually(subscribed_together)
        async with await servers[0].open() as one, await servers[1].open() as other:
            raw.client_kill_filter(
                _id=min(int(client["id"]) for client in raw.client_list(_type="pubsub"))
            )
            ExternalPublisher(raw, prefix)("balance-sync", n=1)
            await eventually(lambda: any(server.health()["coverage_gaps"] for server in servers))
            affected = one if servers[0].health()["coverage_gaps"] else other
            messages = [await affected.next()]
            while not (
                any(map(has_gap, messages))
                and messages[-1].event == "ping"
                and not has_gap(messages[-1])
            ):
                messages.append(await affected.next())
            assert [each.data["status"] for each in messages if each.event == "status"] == [
                {"n": 1}
            ]
