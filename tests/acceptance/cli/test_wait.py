"""`pulseboard wait`: scripts wait until services fulfil conditions."""

import signal
from typing import Any

import msgspec
import pytest
from tests.acceptance.cli.test_status import states
from tests.support.cli import (
    Program,
    Pulseboard,
    RunCommand,
    ServedBoard,
    is_ready,
    reserved_port,
    until,
)

from pulseboard.cli.condition import Condition, find
from pulseboard.wire.errors import ConfigError
from pulseboard.wire.state import State
from pulseboard.wire.views import InstanceStateView


def alive(instance: str, status: dict[str, Any]) -> InstanceStateView:
    """Return a running instance of the service `a`."""
    return InstanceStateView(
        service="a",
        timestamp=0,
        status=msgspec.Raw(msgspec.json.encode(status)),
        instance=instance,
        state=State.ALIVE,
    )


def has_client(board: ServedBoard) -> bool:
    """Return whether a client reads the event stream."""
    return bool(board.read("/healthz")["clients"])


def test_condition_that_holds_already_ends_at_once(board: ServedBoard) -> None:
    board.publish("report", "host:1", {"phase": "idle", "queue": {"depth": 0}}, heartbeat_s=60)
    until(lambda: states(board) == ["alive"], "the instance did not appear")
    code, out, err = board.run_command(
        "wait", "report=alive,phase=idle,queue.depth=0", "balance-sync=missing"
    )
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("report=alive,phase=idle,queue.depth=0  held by host:1 after ")
    assert second.startswith("balance-sync=missing  held by no instance after ")


def test_wait_ends_with_the_event_that_fulfils_all_conditions(board: ServedBoard) -> None:
    waiting = board.start("wait", "report=alive,done=7", "balance-sync=stopped")
    until(lambda: has_client(board), "the command does not read the stream")
    board.publish("report", "host:1", {"done": 7}, heartbeat_s=60)
    board.publish("report", "host:2", {"done": 8}, heartbeat_s=60)
    until(lambda: len(states(board)) == 2, "the instances did not appear")
    assert waiting.process.poll() is None
    board.publish("balance-sync", "host:1", stopped=True)
    assert waiting.wait() == 0
    assert "report=alive,done=7  held by host:1" in waiting.out


def test_lost_state_can_be_a_condition(board: ServedBoard) -> None:
    board.publish("report", "host:1", heartbeat_s=0.2)
    assert board.run_command("wait", "report=lost").code == 0


def test_timeout_reports_each_unfulfilled_condition_and_the_last_state(board: ServedBoard) -> None:
    board.publish("report", "host:1", {"phase": "warm up"}, heartbeat_s=60)
    until(lambda: states(board) == ["alive"], "the instance did not appear")
    code, out, err = board.run_command(
        "wait",
        "report=alive,phase=idle",
        "report=alive",
        "absent=alive",
        "balance-sync=alive",
        "--timeout",
        "1",
    )
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        (
            "pulseboard: not within 1 s: report=alive,phase=idle: "
            'last seen alive, phase="warm up" (host:1)'
        ),
        "pulseboard: not within 1 s: absent=alive: not seen",
        "pulseboard: not within 1 s: balance-sync=alive: last seen missing",
    ]


def test_wait_retries_until_the_server_starts(
    pulseboard: Pulseboard, redis_env: dict[str, str], board: ServedBoard
) -> None:
    port = reserved_port()
    waiting = pulseboard("wait", "balance-sync=missing", "--server", f"http://127.0.0.1:{port}")
    server: Program = pulseboard(
        "serve", "--port", str(port), "--expect", "balance-sync", **redis_env
    )
    until(lambda: is_ready(server.url), "the server did not become ready")
    assert waiting.wait() == 0


def test_server_that_never_answers_exits_3(board: ServedBoard) -> None:
    code, out, err = board.run_command(
        "wait", "a=alive", "--timeout", "1", "--server", "http://127.0.0.1:1"
    )
    assert (code, out) == (3, "")
    assert err == "pulseboard: no board answers at http://127.0.0.1:1: connection refused\n"


@pytest.mark.usefixtures("stoppable_server")
def test_wait_continues_after_a_restart_of_the_server(board: ServedBoard) -> None:
    waiting = board.start("wait", "report=alive")
    until(lambda: has_client(board), "the command does not read the stream")
    board.program.stop(signal.SIGKILL)
    board.serve()
    board.publish("report", "host:1", heartbeat_s=60)
    assert waiting.wait() == 0


def test_ctrl_c_ends_the_wait_with_code_130(board: ServedBoard) -> None:
    waiting = board.start("wait", "report=alive")
    until(lambda: has_client(board), "the command does not read the stream")
    assert waiting.stop(signal.SIGINT) == 130
    assert (waiting.out, waiting.err) == ("", "")


INVALID_ARGUMENTS: tuple[tuple[list[str], str], ...] = (
    (["report"], "a condition is SERVICE=STATE"),
    (["report=well"], "a condition is SERVICE=STATE"),
    (["Report=alive"], "cannot name a service"),
    (["report=alive", "--timeout", "0"], "--timeout"),
    ([], "SERVICE=STATE"),
)


def test_invalid_condition_prints_one_line_and_exits_2(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, text in INVALID_ARGUMENTS:
        result = run_in_process("wait", *arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert result.err.startswith("pulseboard: ")
        assert result.err.count("\n") == 1
        assert text in result.err


class TestCondition:
    @pytest.mark.parametrize(
        ("fields", "status", "holds"),
        [
            ("n=1", {"n": 1}, True),
            ("n=1", {"n": 1.0}, True),
            ("n=1", {"n": True}, False),
            ("n=true", {"n": True}, True),
            ("n=true", {"n": 1}, False),
            ("n=1", {"n": "1"}, True),
            ('n="1"', {"n": "1"}, True),
            ("n=null", {"n": None}, True),
            ("n=null", {}, False),
            ("n=", {"n": ""}, True),
            ("a.b=1", {"a": {"b": 1}}, True),
            ("a.b=1", {"a.b": 1}, True),
            ("a.1.b=x", {"a": [0, {"b": "x"}]}, True),
            ("a.2=1", {"a": [0, 1]}, False),
            ("a=[1,2]", {"a": [1, 2]}, True),
            ("text=a,b,n=1", {"text": "a,b", "n": 1}, True),
            ("text=in work", {"text": "in work"}, True),
            ("a=x=y", {"a": "x=y"}, True),
        ],
    )
    def test_field_equals_a_value(self, fields: str, status: dict[str, Any], holds: bool) -> None:
        instance = alive("i", status)
        condition = Condition.parse(f"a=alive,{fields}")
        assert (condition.find_holder([instance]) == "i") is holds

    def test_all_fields_must_match_in_one_instance(self) -> None:
        one, other = (alive(f"{n}", {"n": n, "m": 3 - n}) for n in (1, 2))
        assert Condition.parse("a=alive,n=1,m=2").find_holder([one, other]) == "1"
        assert Condition.parse("a=alive,n=1,m=1").find_holder([one, other]) is None

    def test_missing_field_has_no_value(self) -> None:
        assert find({"a": {}}, "a.b") is find(1, "a")
        with pytest.raises(ConfigError):
            Condition.parse("=alive")
