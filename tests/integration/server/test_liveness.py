"""Losses, returns and planned stops of real services, as two servers on one Redis report them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis
from tests.support.server import Message, ServeFixture, Server, eventually

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.server import runtime

HEARTBEAT_S = 0.4


def is_lifecycle(event: str) -> Callable[[Message], bool]:
    return lambda message: message.event == "lifecycle" and message.data["event"] == event


@pytest.fixture
async def servers(serve: ServeFixture, address: RedisAddress) -> list[Server]:
    """Start two servers of one namespace and wait until both are ready."""
    both = [serve(address), serve(address)]
    for server in both:
        await eventually(server.is_ready)
    return both


RunProcess = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def run_process(address: RedisAddress, namespace: str, prefix: str) -> Iterator[RunProcess]:
    """Run a program whose service publishes two updates and waits; it is killed after the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(instance: str) -> subprocess.Popen[bytes]:
        program = (
            "from pulseboard import Service\n"
            f"service = Service('import', instance={instance!r}, heartbeat_s={HEARTBEAT_S})\n"
            "service.start()\n"
            "import logging\nlogging.basicConfig(level='INFO', handlers=[service.log_handler()])\n"
            "for n in range(30): logging.info('row %d', n)\n"
            "service.log('error', 'out of memory', free=0)\n"
            "service.update(row=41)\nservice.update(row=42)\ninput()"
        )
        environment = {
            "REDIS_URL": address.url,
            "PULSEBOARD_NAMESPACE": namespace,
            "PULSEBOARD_CHANNEL_PREFIX": prefix,
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", program], env=os.environ | environment, stdin=subprocess.PIPE
            )
        )
        return processes[-1]

    yield run
    for each in processes:
        each.kill()
        each.communicate()


def count_instances(server: Server) -> int:
    return int(server.health()["instances"])


async def test_killed_instance_is_one_incident_with_last_words_on_both_servers(
    servers: list[Server], run_process: RunProcess
) -> None:
    dying = run_process("w-1")
    async with await servers[0].open() as one, await servers[1].open() as other:
        for stream in (one, other):
            await stream.until(
                lambda message: (
                    message.event == "log" and "out of" in str(message.data["lines"][-1:])
                )
            )
        dying.send_signal(signal.SIGKILL)
        losses = [await stream.until(is_lifecycle("lost")) for stream in (one, other)]
        assert losses[0].id == losses[1].id
        assert losses[0].data == losses[1].data
        incident = losses[0].data["incident"]
        assert (incident["instance"], incident["cause"], incident["heartbeat_s"]) == (
            "w-1",
            "silent",
            HEARTBEAT_S,
        )
        silence_ms = incident["declared"] - incident["seen"]
        assert silence_ms > 2.5 * HEARTBEAT_S * 1000
        for server in servers:
            (found,) = server.get("/api/incidents").json()["incidents"]
            assert found.items() >= incident.items()
            assert found["status"] == {"row": 42}
            *rows, last = found["lines"]
            assert [line["message"] for line in rows] == [f"row {n}" for n in range(11, 30)]
            assert (last["level"], last["message"], last["fields"]) == (
                "error",
                "out of memory",
                {"free": 0},
            )
        async with await servers[1].open() as late:
            board = (await late.next()).data
        assert [(each["instance"], each["lost"]) for each in board["instances"]] == [("w-1", True)]
        assert board["incidents"] == [incident]
        # The instance returns under its name: it is alive, and the incident stays on record.
        run_process("w-1")
        await one.until(lambda message: message.event == "status")
        async with await servers[0].open() as late:
            board = (await late.next()).data
        assert board["instances"][0]["lost"] is False
        assert len(servers[0].get("/api/incidents?service=import").json()["incidents"]) == 1


async def test_server_that_starts_after_a_loss_shows_it_without_a_second_incident(
    serve: ServeFixture,
    address: RedisAddress,
    run_process: RunProcess,
    raw: redis.Redis,
    keys: Keys,
) -> None:
    first = serve(address)
    await eventually(first.is_ready)
    dying = run_process("w-1")
    await eventually(lambda: raw.hexists(keys.seen, "import/w-1"))
    dying.kill()
    await eventually(lambda: raw.xlen(keys.incidents))
    second = serve(address, ping_s=0.2)
    await eventually(second.is_ready)
    async with await second.open() as stream:
        (instance,) = (await stream.next()).data["instances"]
        assert instance["lost"] is True
        await stream.until(lambda message: message.event == "ping")
    assert raw.xlen(keys.incidents) == 1


async def test_process_that_pauses_and_resumes_is_lost_and_then_alive_again(
    servers: list[Server], run_process: RunProcess
) -> None:
    paused = run_process("w-1")
    async with await servers[0].open() as stream:
        await stream.until(
            lambda message: message.event == "heartbeats" and message.data["heartbeats"]
        )
        paused.send_signal(signal.SIGSTOP)
        await stream.until(is_lifecycle("lost"))
        paused.send_signal(signal.SIGCONT)
        await stream.until(
            lambda message: message.event == "heartbeats" and message.data["heartbeats"]
        )
        async with await servers[1].open() as late:
            assert (await late.next()).data["instances"][0]["lost"] is False


async def test_loss_is_declared_in_time_after_the_clock_of_redis_was_set_back(
    servers: list[Server], run_process: RunProcess, raw: redis.Redis, keys: Keys
) -> None:
    dying = run_process("w-1")
    async with await servers[0].open() as stream:
        await stream.until(
            lambda message: message.event == "heartbeats" and message.data["heartbeats"]
        )
        # An id that is one hour ahead: the same as when the clock was set back by one hour.
        hour_ms = 3_600_000
        now_ms = (
            await stream.until(
                lambda message: message.event == "heartbeats" and message.data["heartbeats"]
            )
        ).data["now"]
        raw.xadd(keys.heartbeats, {"service": "x", "instance": "1"}, id=f"{now_ms + hour_ms}-0")
        await stream.until(
            lambda message: message.event == "ping" and message.data["now"] > now_ms + hour_ms
        )
        await stream.until(
            lambda message: message.event == "heartbeats" and message.data["heartbeats"]
        )
        assert not raw.exists(keys.incidents), "a change of the clock is no loss"
        dying.kill()
        (incident,) = [(await stream.until(is_lifecycle("lost"))).data["incident"]]
        assert 2.5 * HEARTBEAT_S * 1000 < incident["declared"] - incident["seen"] < 10_000


async def test_next_instance_fulfils_a_planned_return(
    servers: list[Server], address: RedisAddress, namespace: str, prefix: str
) -> None:
    def service(name: str) -> Service:
        options = {"redis_url": address.url, "namespace": namespace, "channel_prefix": prefix}
        return Service(
            "import", heartbeat_s=HEARTBEAT_S, instance=name, **cast("Any", options)
        ).start()

    async with await servers[0].open() as stream:
        service("old").stop(back_in_s=60)
        stopped = await stream.until(
            lambda message: message.event == "status" and "stopped" in message.data
        )
        assert stopped.data["back_in_s"] == 60
        new = service("new")
        gone = await stream.until(is_lifecycle("gone"))
        assert (gone.data["instance"], gone.data["replaced_by"]) == ("old", "new")
        await eventually(lambda: count_instances(servers[1]) == 1)
        new.stop()


async def test_missed_planned_return_is_an_incident(
    servers: list[Server],
    address: RedisAddress,
    namespace: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.wire.state.RETURN_GRACE_MS", 100)
    options: Any = {"redis_url": address.url, "namespace": namespace, "channel_prefix": prefix}
    async with await servers[0].open() as stream:
        Service("import", heartbeat_s=60, **options).start().stop(back_in_s=0.5)
        lost = await stream.until(is_lifecycle("lost"))
    incident = lost.data["incident"]
    assert incident["cause"] == "overdue"
    assert incident["declared"] - incident["seen"] >= 600
    assert len(servers[1].get("/api/incidents").json()["incidents"]) == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("service=Import", "bad-name"),
        ("before=yesterday", "bad-cursor"),
        ("limit=0", "bad-parameter"),
    ],
)
async def test_invalid_query_for_incidents_is_answered_with_a_problem(
    server: Server, query: str, code: str
) -> None:
    answer = server.get(f"/api/incidents?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == code


@pytest.mark.parametrize("limit", ["0", "-1", "101", "x", "", "1.5", "9" * 30])
async def test_invalid_limit_is_answered_with_the_valid_range_and_the_given_value(
    server: Server, limit: str
) -> None:
    problem = server.get(f"/api/incidents?limit={limit}").json()
    assert (problem["code"], problem["parameter"]) == ("bad-parameter", "limit")
    assert problem["detail"] == f"limit must be a whole number from 1 to 100, not '{limit}'."


async def test_lost_instance_leaves_the_board_after_the_set_time_and_keeps_its_history(
    serve: ServeFixture,
    address: RedisAddress,
    raw: redis.Redis,
    keys: Keys,
    run_process: RunProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "EVICT_INTERVAL_S", 0.1)
    server = serve(address, forget_s=2.0)
    await eventually(server.is_ready)
    async with await server.open() as stream:
        ended = run_process("w-1")
        await stream.until(
            lambda message: message.event == "status" and message.data["status"] == {"row": 42}
        )
        ended.kill()
        run_process("w-2")
        gone = await stream.until(is_lifecycle("gone"))
        assert gone.data["instance"] == "w-1"
    await eventually(lambda: raw.hkeys(keys.board) == [b"import/w-2"])
    rows: Any = raw.xrange(keys.history("import"))
    assert any(b'"w-1"' in fields[b"data"] for _, fields in rows)
