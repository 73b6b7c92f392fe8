"""The board as it stood: what was said, who was there, and what was being done, at moments gone by."""

import json
import signal
import time
from typing import Any

import pytest
import redis
from tests.support.commands import RunInstance, TillClient
from tests.support.server import ExternalPublisher, Server, eventually


def now_ms(raw: redis.Redis) -> int:
    seconds, micros = raw.time()
    return int(seconds) * 1000 + int(micros) // 1000


def board_at(server: Server, at: object, **more: str) -> dict[str, Any]:
    answer = server.get("/api/board", params={"at": str(at), **more})
    assert answer.status_code == 200, answer.text
    board: dict[str, Any] = answer.json()
    return board


def states(board: dict[str, Any]) -> dict[str, str]:
    return {f"{each['service']}/{each['instance']}": each["state"] for each in board["instances"]}


async def pass_on(raw: redis.Redis, moment: int) -> None:
    """Wait until Redis' clock is past a moment."""
    await eventually(lambda: now_ms(raw) > moment)


async def test_statuses_and_lines_are_those_of_then(
    server: Server, publish: ExternalPublisher, raw: redis.Redis, prefix: str
) -> None:
    before = now_ms(raw)
    await pass_on(raw, before)
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
    await pass_on(raw, first)
    publish("report", done=2)
    raw.publish(f"{prefix}logs", json.dumps({"service": "report", "message": "two"}))
    await eventually(
        lambda: len(server.get("/api/services/report/logs").json().get("lines", [])) == 2
    )
    assert board_at(server, before)["instances"] == []
    then = board_at(server, first)
    assert [(each["status"], each["state"]) for each in then["instances"]] == [
        ({"done": 1}, "silent")
    ]
    assert [each["message"] for each in then["lines"]] == ["one"]
    after = board_at(server, now_ms(raw), services="report")
    assert [each["status"] for each in after["instances"]] == [{"done": 2}]
    assert [each["message"] for each in after["lines"]] == ["one", "two"]
    assert after["truncated"] is False
    assert board_at(server, now_ms(raw), services="other")["instances"] == []


async def test_states_are_told_by_what_came_before_and_after(
    server: Server, run_instance: RunInstance, till: TillClient, raw: redis.Redis
) -> None:
    lost, stopped = run_instance("a"), run_instance("b")
    await till.wait_until_listening("a", "b")
    both = now_ms(raw)
    await pass_on(raw, both + 400)  # each has beaten since
    lost.kill()
    stopped.kill(15)
    stopped.wait()
    await eventually(lambda: server.runtime.hub.states("till") == {"a": "lost", "b": "stopped"})
    await eventually(lambda: server.get("/api/incidents").json()["incidents"])
    over = now_ms(raw)
    await pass_on(raw, over)
    run_instance("a")
    await till.wait_until_listening("a")
    again = now_ms(raw)
    await pass_on(raw, again + 400)
    assert states(board_at(server, both)) == {"till/a": "alive", "till/b": "alive"}
    then = board_at(server, over)
    assert states(then) == {"till/a": "lost", "till/b": "stopped"}
    assert [each["instance"] for each in then["incidents"]] == ["a"]
    assert states(board_at(server, again)) == {"till/a": "alive", "till/b": "stopped"}


async def test_one_that_was_lost_and_beats_again_is_alive_from_then_on(
    server: Server, run_instance: RunInstance, till: TillClient, raw: redis.Redis
) -> None:
    """It says nothing of its own accord: of its return nothing would be kept."""
    host = run_instance("a")
    await till.wait_until_listening("a")

    def losses() -> int:
        return len(server.get("/api/incidents").json()["incidents"])

    host.kill(signal.SIGSTOP)
    await eventually(lambda: losses() == 1)
    gone = now_ms(raw)
    await pass_on(raw, gone)
    host.kill(signal.SIGCONT)
    await eventually(lambda: server.runtime.hub.states("till") == {"a": "alive"})
    await eventually(lambda: states(board_at(server, now_ms(raw))) == {"till/a": "alive"})
    back = now_ms(raw)
    host.kill()
    await eventually(lambda: losses() == 2)
    assert [states(board_at(server, moment)) for moment in (gone, back, now_ms(raw))] == [
        {"till/a": "lost"},
        {"till/a": "alive"},
        {"till/a": "lost"},
    ]


async def test_commands_in_work_then_are_told(
    server: Server, run_instance: RunInstance, till: TillClient, raw: redis.Redis
) -> None:
    run_instance("a", "service.command('slow')(lambda: time.sleep(0.5))")
    await till.wait_until_listening("a")
    before = now_ms(raw)
    await pass_on(raw, before)
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
    await pass_on(raw, during)
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
def test_a_moment_that_is_none_is_refused(server: Server, query: dict[str, str], code: str) -> None:
    answer = server.get("/api/board", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
