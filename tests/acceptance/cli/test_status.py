"""`pulseboard status`: the board in a pipe, as JSON and in a terminal; `--watch` follows it."""

import json
import re
import signal
from typing import Any

import pytest
from rich.cells import cell_len
from tests.support.cli import Pulseboard, RunCommand, ServedBoard, Terminal, is_ready, until
from tests.support.valkey import free_port, run_valkey

from pulseboard.cli.output_style import SHAPES
from pulseboard.wire.state import State

LONG_HOST_NAME = "ip-10-0-3-17.eu-central-1.compute.internal"
ANSI_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def publish_each_state(board: ServedBoard) -> None:
    board.publish("worker-pool", f"{LONG_HOST_NAME}:4001", {"jobs": 3}, heartbeat_s=600)
    board.publish("worker-pool", f"{LONG_HOST_NAME}:4002", {"jobs": 4}, heartbeat_s=0.2)
    board.publish("a" * 64, "host:1", {"note": "日本語のステータス " * 9})
    board.publish("stopper", "host:9", {"done": 1}, stopped=True, back_in_s=900)
    until(lambda: "lost" in states(board), "no instance became lost")


def states(board: ServedBoard) -> list[str]:
    services = board.read("/api/services")["services"]
    return [instance["state"] for service in services for instance in service["instances"]]


def changes(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_instance_is_one_line_of_columns_in_a_pipe(board: ServedBoard) -> None:
    publish_each_state(board)
    code, out, err = board.run_command("status")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    head, *rows = out.splitlines()
    columns = [re.split(r" {2,}", row) for row in rows]
    assert head.split() == ["STATE", "SERVICE", "INSTANCE", "SEEN", "INTERVAL", "STATUS"]
    assert [row[:3] for row in columns] == [
        ["silent", "a" * 64, "host:1"],
        ["missing", "balance-sync", "-"],
        ["stopped", "stopper", "host:9"],
        ["alive", "worker-pool", f"{LONG_HOST_NAME}:4001"],
        ["lost", "worker-pool", f"{LONG_HOST_NAME}:4002"],
    ]
    assert columns[0][-1] == 'note="{}"'.format("日本語のステータス " * 9)
    assert columns[2][-2:] == [columns[2][-2], "done=1"]
    assert columns[2][-2].startswith("(back in 1")
    assert {row.index("  ") for row in (head, *rows)} >= {len("missing")}


def test_json_equals_the_document_of_the_api(board: ServedBoard) -> None:
    publish_each_state(board)
    code, out, err = board.run_command("status", "worker-pool", "--json")
    assert (code, err) == (0, "")
    (service,) = json.loads(out)["services"]
    from_api = board.read("/api/services/worker-pool")
    assert {key: service[key] for key in ("name", "expected")} == {
        "name": "worker-pool",
        "expected": False,
    }
    assert [instance["status"] for instance in service["instances"]] == [
        instance["status"] for instance in from_api["instances"]
    ]
    assert [instance["state"] for instance in service["instances"]] == ["alive", "lost"]


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_table_fits_and_shows_states_by_word_shape_and_colour(
    board: ServedBoard, width: int
) -> None:
    publish_each_state(board)
    shown = board.run_in_terminal("status", width=width)
    lines = [line.rstrip("\r") for line in ANSI_SEQUENCE.sub("", shown).split("\n")]
    assert max(cell_len(line) for line in lines) <= width
    assert [line for line in lines if line.startswith("✕ lost")]
    assert "\x1b[1;31m✕ lost" in shown
    (alive,) = [line for line in lines if line.startswith("● alive")]
    (lost,) = [line for line in lines if line.startswith("✕ lost")]
    assert "4001" in alive  # the distinguishing part of the name is not cut
    assert "4002" in lost
    assert "4 services · 1 alive · 1 lost · 1 stopped · 1 silent · 1 missing" in lines


def test_control_characters_in_a_status_are_escaped(board: ServedBoard) -> None:
    board.publish(
        "evil", "host:1", {"\x1b[31mred": "\x1b]0;title\x07", "line": "a\nb", "turned": "\u202eabc"}
    )
    until(lambda: states(board), "the instance did not appear")
    for output in (
        board.run_command("status", "evil").out,
        ANSI_SEQUENCE.sub("", board.run_in_terminal("status", "evil", width=200)),
    ):
        assert "\x1b" not in output
        assert "\u202e" not in output
        assert r"\x1b[31mred" in output
        assert r"line=\"a\nb\"".replace('\\"', '"') in output


def test_blind_board_is_reported_as_blind(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    with run_valkey() as valkey:
        program = pulseboard(
            "serve", "--port", "0", **redis_env | {"REDIS_URL": valkey.address.url}
        )
        until(lambda: is_ready(program.url), "the server did not become ready")
        valkey.stop()
        until(lambda: not is_ready(program.url), "the server did not detect the outage")
        status = pulseboard("status", "--server", program.url)
        assert status.wait() == 0
        assert status.err.startswith("pulseboard: the board is blind: ")


INVALID_ARGUMENTS: tuple[tuple[list[str], int, str], ...] = (
    (["status", "absent"], 1, "no service 'absent' is on the board"),
    (["status", "No-Name"], 2, "cannot name a service"),
    (["status", "--server", "ftp://x"], 2, "--server"),
    (["status", "--server", "http://[::1"], 2, "--server"),
    (
        ["status", "--server", "http://127.0.0.1:1"],
        3,
        "no board answers at http://127.0.0.1:1: connection refused",
    ),
    (["status", "--watch", "--server", "http://127.0.0.1:1"], 3, "connection refused"),
)


def test_invalid_arguments_print_one_line_and_exit_with_a_code(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, code, output in INVALID_ARGUMENTS:
        result = run_in_process(*arguments)
        assert (result.code, result.out) == (code, ""), arguments
        assert result.err.startswith("pulseboard: ")
        assert result.err.count("\n") == 1
        assert output in result.err


@pytest.mark.usefixtures("stoppable_server")
def test_watch_in_a_pipe_prints_each_change_across_a_server_restart(
    board: ServedBoard,
) -> None:
    board.publish("report", "host:1", {"n": 1}, heartbeat_s=600)
    until(lambda: states(board) == ["alive"], "the instance did not appear")
    watching = board.start("status", "report", "--watch", "--json")
    until(lambda: watching.out.count("\n") == 1, "the first state was not printed")
    board.publish("report", "host:1", {"n": 2}, heartbeat_s=600)
    until(lambda: watching.out.count("\n") == 2, "the change was not printed")
    board.program.stop(signal.SIGKILL)
    until(lambda: "trying again" in watching.err, "the lost connection was not reported")
    board.serve()
    until(lambda: "connected again" in watching.err, "the command did not reconnect")
    board.publish("report", "host:1", {"n": 3}, heartbeat_s=600, stopped=True)
    until(lambda: '"n":3' in watching.out, "the change after the restart was not printed")
    assert watching.stop(signal.SIGINT) == 130
    printed = [(change["state"], change["status"]) for change in changes(watching.out)]
    assert printed[:2] == [("alive", {"n": 1}), ("alive", {"n": 2})]
    assert ("unknown", {"n": 2}) in printed  # while no server observed the instance
    assert printed[-1] == ("stopped", {"n": 3})
    assert "Traceback" not in watching.err


@pytest.mark.usefixtures("stoppable_server")
def test_watch_in_a_terminal_is_a_live_table_that_shows_a_lost_server(
    board: ServedBoard,
) -> None:
    board.publish("report", "host:1", {"n": 1}, heartbeat_s=600)
    with Terminal(("status", "--watch"), board.url, 100, 20) as terminal:
        terminal.until("● live")
        terminal.until("n=1")
        board.publish("report", "host:1", {"n": 2}, heartbeat_s=600)
        terminal.until("n=2")
        board.program.stop(signal.SIGKILL)
        terminal.until("trying again")
        terminal.until(f"{SHAPES[State.UNKNOWN]} unknown")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.rest()
    assert terminal.process.returncode == 130
    # The command restores the terminal.
    assert shown.endswith("\x1b[?25h\x1b[?1049l") or "\x1b[?1049l" in shown[-40:]
    assert "Traceback" not in shown


def test_table_higher_than_the_terminal_keeps_lost_instances(board: ServedBoard) -> None:
    for n in range(40):
        board.publish("pool", f"host:{n:02d}", heartbeat_s=0.2 if n == 37 else 600)
    until(lambda: states(board).count("lost") == 1, "no instance became lost")
    with Terminal(("status", "--watch"), board.url, 100, 12) as terminal:
        terminal.until("host:37")
        terminal.until("… and ")


@pytest.mark.usefixtures("stoppable_server")
def test_server_that_stops_sending_is_distinguished_from_an_idle_server(
    board: ServedBoard,
) -> None:
    board.program.stop()
    board.serve("--ping-s", "0.5")
    watching = board.start("status", "--watch", "--json")
    until(lambda: watching.out, "the command printed nothing")
    board.program.process.send_signal(signal.SIGSTOP)
    try:
        until(
            lambda: "has sent nothing for too long; trying again" in watching.err,
            "the silent server was not reported",
        )
    finally:
        board.program.process.send_signal(signal.SIGCONT)
    until(lambda: "connected again" in watching.err, "the command did not reconnect")


def test_server_is_set_by_flag_or_environment_without_a_scheme(
    board: ServedBoard, pulseboard: Pulseboard
) -> None:
    for arguments, env in (
        (("--server", board.url.removeprefix("http://")), {}),
        ((), {"PULSEBOARD_SERVER": f"{board.url}/"}),
        (("--server", board.url), {"PULSEBOARD_SERVER": f"http://127.0.0.1:{free_port()}"}),
        ((), {"PULSEBOARD_SERVER": board.url, "HTTP_PROXY": "http://127.0.0.1:1"}),
    ):
        status = pulseboard("status", *arguments, **env)
        assert (status.wait(), status.err) == (0, "")
        assert "balance-sync" in status.out
