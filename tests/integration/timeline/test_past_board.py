"""The board at past moments: statuses, log lines, states and open commands."""

import json
import signal
import time
from typing import Any

import pytest
import redis
from tests.support.commands import RunInstance, TillClient
from tests.support.server import LIMIT_S, ExternalPublisher, Server, eventually


def now_ms(raw: redis.Redis) -> int:
    seconds, micros = raw.time()
    return int(seconds) * 1000 + int(micros) // 1000


def board_at(server: Server, at: int, **more: str) -> dict[str, Any]:
    """Return the board at a moment by Redis' clock.

    The clock of the server may lag behind Redis by half of a round trip, and the server refuses a
    moment in its future. On a busy machine this made a request for the current moment fail.
    """
    deadline = time.monotonic() + LIMIT_S
    while server.runtime.hub.now_ms < at:
        assert time.monotonic() < deadline, "the clock of the server is behind that of Redis"
        time.sleep(0.001)
    answer = server.get("/api/board", params={"at": str(at), **more})
    assert answer.status_code == 200, answer.text
    board: dict[str, Any] = answer.json()
    return board


def states(board: dict[str, Any]) -> dict[str, str]:
    return {f"{each['service']}/{each['instance']}": each["state"] for each in board["instances"]}


async def wait_until_after(raw: redis.Redis, moment: int) -> None:
    """Wait until the clock of Redis is past a moment."""
    await eventually(lambda: now_ms(raw) > moment)


async def test_board_has_the_statuses_and_lines_of_its_moment(
    server: Server, publish: ExternalPublisher, raw: redis.Redis, prefix: str
) -> None:
    before = now_ms(raw)
    await wait_until_after(raw, before)
    publish("report", done=1)
    raw.publish(f"{prefix}logs", json.dumps({"service": "report", "message": "one"}))
    await eventually(
        lambda: (
            [
                each["message"]
                for each in server.get("/api/services/report/logs").json().get("lines", [])
            ]
            == ["one"]
        )
    )
    first = now_ms(raw)
    await wait_until_after(raw, first)
    publish("report", done=2)
    raw.publish(f"{prefix}logs", json.dumps({"service": "report", "message": "two"}))
    await eventually(
        lambda: len(server.get("/api/services/report/logs").json().get("lines", [])) == 2
    )
    assert board_at(server, before)["instances"] == []
    past_board = board_at(server, first)
    assert [(each["status"], each["state"]) for each in past_board["instances"]] == [
        ({"done": 1}, "silent")
    ]
    assert [each["message"] for each in past_board["lines"]] == ["one"]
    after = board_at(server, now_ms(raw), services="report")
    assert [each["status"] for each in after["instances"]] == [{"done": 2}]
    assert [each["message"] for each in after["lines"]] == ["one", "two"]
    assert after["truncated"] is False
    assert board_at(server, now_ms(raw), services="other")["instances"] == []


async def test_states_follow_from_evidence_before_and_after_the_moment(
    server: Server, run_instance: RunInstance, till: TillClient, raw: redis.Redis
) -> None:
    lost, stopped = run_instance("a"), run_instance("b")
    await till.wait_until_listening("a", "b")
    while_alive = now_ms(raw)
    await wait_until_after(raw, while_alive + 400)  # each has sent a heartbeat since
    lost.kill()
    stopped.kill(15)
    stopped.wait()
    await eventually(lambda: server.runtime.hub.states("till") == {"a": "lost", "b": "stopped"})
    await eventually(lambda: server.get("/api/incidents").json()["incidents"])
    after_loss = now_ms(raw)
    await wait_until_after(raw, after_loss)
    run_instance("a")
    await till.wait_until_listening("a")
    after_return = now_ms(raw)
    await wait_until_after(raw, after_return + 400)
    assert states(board_at(server, while_alive)) == {"till/a": "alive", "till/b": "alive"}
    past_board = board_at(server, after_loss)
    assert states(past_board) == {"till/a": "lost", "till/b": "stopped"}
    assert [each["instance"] for each in past_board["incidents"]] == ["a"]
    assert states(board_at(server, after_return)) == {"till/a": "alive", "till/b": "stopped"}


async def test_lost_instance_is_alive_from_its_next_heartbeat_on(
    server: Server, run_instance: RunInstance, till: TillClient, raw: redis.Redis
) -> None:
    """The instance publishes no status, so only its heartbeat can prove its return."""
    process = run_instance("a")
    await till.wait_until_listening("a")

    def count_incidents() -> int:
        return len(server.get("/api/incidents").json()["incidents"])

    process.kill(signal.SIGSTOP)
    await eventually(lambda: count_incidents() == 1)
    while_lost = now_ms(raw)
    await wait_until_after(raw, while_lost)
    process.kill(signal.SIGCONT)
    await eventually(lambda: server.runtime.hub.states("till") == {"a": "alive"})
    await eventually(lambda: states(board_at(server, now_ms(raw))) == {"till/a": "alive"})
    after_heartbeat = now_ms(raw)
    process.kill()
    await eventually(lambda: count_incidents() == 2)
    assert [
        states(board_at(server, moment)) for moment in (while_lost, after_heartbeat, now_ms(raw))
    ] == [
        {"till/a": "lost"},
        {"till/a": "alive"},
        {"till/a": "lost"},
    ]


async def test_board_has_the_commands_that_were_open_at_its_moment(
    server: Server, run_instance: RunInstance, till: TillClient, raw: redis.Redis
) -> None:
    run_instance("a", "service.command('slow')(lambda: time.sleep(0.5))")
    await till.wait_until_listening("a")
    before = now_ms(raw)
    await wait_until_after(raw, before)
    command_id = till.send("slow", args={})
    await eventually(lambda: till.steps(command_id).get("a") == ["received", "accepted"])
    during = now_ms(raw)
    await till.wait_until_final(command_id, "a")
    assert board_at(server, before)["commands"] == []
    (command,) = board_at(server, during)["commands"]
    assert (command["id"], command["command"], command["steps"]) == (
        command_id,
        "slow",
        {"a": "accepted"},
    )
    await wait_until_after(raw, during)
    assert board_at(server, now_ms(raw))["commands"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "bad-parameter"),
        ({"at": ""}, "bad-time"),
        ({"at": "yesterday"}, "bad-time"),
        ({"at": "-5"}, "bad-time"),
        ({"at": str(round(time.time() * 1000) + 10**9)}, "bad-time"),
        ({"at": "0", "services": "NO"}, "bad-name"),
    ],
)
def test_invalid_query_is_answered_with_a_problem(
    server: Server, query: dict[str, str], code: str
) -> None:
    answer = server.get("/api/board", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
