"""`pulseboard status`: the board at a glance, in a pipe, as JSON, on a terminal, and as it changes."""

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

LONG = "ip-10-0-3-17.eu-central-1.compute.internal"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def fill(board: ServedBoard) -> None:
    board.publish("worker-pool", f"{LONG}:4001", {"jobs": 3}, heartbeat_s=600)
    board.publish("worker-pool", f"{LONG}:4002", {"jobs": 4}, heartbeat_s=0.2)
    board.publish("a" * 64, "host:1", {"note": "日本語のステータス " * 9})
    board.publish("stopper", "host:9", {"done": 1}, stopped=True, back_in_s=900)
    until(lambda: "lost" in states(board), "nobody was lost")


def states(board: ServedBoard) -> list[str]:
    services = board.read("/api/services")["services"]
    return [instance["state"] for service in services for instance in service["instances"]]


def changes(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_in_a_pipe_each_instance_is_one_plain_line_in_columns(board: ServedBoard) -> None:
    fill(board)
    code, out, err = board.run_command("status")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    head, *rows = out.splitlines()
    columns = [re.split(r" {2,}", row) for row in rows]
    assert head.split() == ["STATE", "SERVICE", "INSTANCE", "SEEN", "BEAT", "STATUS"]
    assert [row[:3] for row in columns] == [
        ["silent", "a" * 64, "host:1"],
        ["missing", "balance-sync", "-"],
        ["stopped", "stopper", "host:9"],
        ["alive", "worker-pool", f"{LONG}:4001"],
        ["lost", "worker-pool", f"{LONG}:4002"],
    ]
    assert columns[0][-1] == 'note="{}"'.format("日本語のステータス " * 9)
    assert columns[2][-2:] == [columns[2][-2], "done=1"]
    assert columns[2][-2].startswith("(back in 1")
    assert {row.index("  ") for row in (head, *rows)} >= {len("missing")}


def test_as_json_it_is_what_the_server_says(board: ServedBoard) -> None:
    fill(board)
    code, out, err = board.run_command("status", "worker-pool", "--json")
    assert (code, err) == (0, "")
    (service,) = json.loads(out)["services"]
    there = board.read("/api/services/worker-pool")
    assert {key: service[key] for key in ("name", "expected")} == {
        "name": "worker-pool",
        "expected": False,
    }
    assert [instance["status"] for instance in service["instances"]] == [
        instance["status"] for instance in there["instances"]
    ]
    assert [instance["state"] for instance in service["instances"]] == ["alive", "lost"]


@pytest.mark.parametrize("width", [80, 140])
def test_on_a_terminal_it_is_a_table_that_fits_with_word_shape_and_colour(
    board: ServedBoard, width: int
) -> None:
    fill(board)
    shown = board.run_in_terminal("status", width=width)
    lines = [line.rstrip("\r") for line in _ANSI.sub("", shown).split("\n")]
    assert max(cell_len(line) for line in lines) <= width
    assert [line for line in lines if line.startswith("✕ lost")]
    assert "\x1b[1;31m✕ lost" in shown
    (alive,) = [line for line in lines if line.startswith("● alive")]
    (lost,) = [line for line in lines if line.startswith("✕ lost")]
    assert "4001" in alive  # what tells them apart is not what is cut
    assert "4002" in lost
    assert "4 services · 1 alive · 1 lost · 1 stopped · 1 silent · 1 missing" in lines


def test_what_others_wrote_moves_no_cursor(board: ServedBoard) -> None:
    board.publish(
        "evil", "host:1", {"\x1b[31mred": "\x1b]0;title\x07", "line": "a\nb", "turned": "\u202eabc"}
    )
    until(lambda: states(board), "it did not come")
    for said in (
        board.run_command("status", "evil").out,
        _ANSI.sub("", board.run_in_terminal("status", "evil", width=200)),
    ):
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert r"\x1b[31mred" in said
        assert r"line=\"a\nb\"".replace('\\"', '"') in said


def test_a_blind_board_says_so_and_vouches_for_nothing(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    with run_valkey() as valkey:
        program = pulseboard(
            "serve", "--port", "0", **redis_env | {"REDIS_URL": valkey.address.url}
        )
        until(lambda: is_ready(program.url), "it did not become ready")
        valkey.stop()
        until(lambda: not is_ready(program.url), "it did not notice")
        asked = pulseboard("status", "--server", program.url)
        assert asked.wait() == 0
        assert asked.err.startswith("pulseboard: the board is blind: ")


WRONG: tuple[tuple[list[str], int, str], ...] = (
    (["status", "nobody"], 1, "no service 'nobody' is on the board"),
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


def test_what_is_wrong_is_one_line_and_a_code(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, code, said in WRONG:
        answer = run_in_process(*arguments)
        assert (answer.code, answer.out) == (code, ""), arguments
        assert answer.err.startswith("pulseboard: ")
        assert answer.err.count("\n") == 1
        assert said in answer.err


@pytest.mark.usefixtures("stoppable_server")
def test_watched_in_a_pipe_each_change_is_a_line_over_a_restart_of_the_server(
    board: ServedBoard,
) -> None:
    board.publish("report", "host:1", {"n": 1}, heartbeat_s=600)
    until(lambda: states(board) == ["alive"], "it did not come")
    watching = board.start("status", "report", "--watch", "--json")
    until(lambda: watching.out.count("\n") == 1, "the first was not told")
    board.publish("report", "host:1", {"n": 2}, heartbeat_s=600)
    until(lambda: watching.out.count("\n") == 2, "the change was not told")
    board.program.stop(signal.SIGKILL)
    until(lambda: "trying again" in watching.err, "that the server is away was not told")
    board.serve()
    until(lambda: "connected again" in watching.err, "it did not come back")
    board.publish("report", "host:1", {"n": 3}, heartbeat_s=600, stopped=True)
    until(lambda: '"n":3' in watching.out, "what came after was not told")
    assert watching.stop(signal.SIGINT) == 130
    told = [(change["state"], change["status"]) for change in changes(watching.out)]
    assert told[:2] == [("alive", {"n": 1}), ("alive", {"n": 2})]
    assert ("unknown", {"n": 2}) in told  # while nobody could see
    assert told[-1] == ("stopped", {"n": 3})
    assert "Traceback" not in watching.err


@pytest.mark.usefixtures("stoppable_server")
def test_watched_on_a_terminal_it_is_a_live_table_that_says_when_its_server_is_away(
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
    assert (
        shown.endswith("\x1b[?25h\x1b[?1049l") or "\x1b[?1049l" in shown[-40:]
    )  # the terminal is as it was
    assert "Traceback" not in shown


def test_a_table_higher_than_the_terminal_keeps_what_is_in_trouble(board: ServedBoard) -> None:
    for n in range(40):
        board.publish("pool", f"host:{n:02d}", heartbeat_s=0.2 if n == 37 else 600)
    until(lambda: states(board).count("lost") == 1, "nobody was lost")
    with Terminal(("status", "--watch"), board.url, 100, 12) as terminal:
        terminal.until("host:37")
        terminal.until("… and ")


@pytest.mark.usefixtures("stoppable_server")
def test_a_server_that_falls_silent_is_told_from_one_that_has_nothing_to_say(
    board: ServedBoard,
) -> None:
    board.program.stop()
    board.serve("--ping-s", "0.5")
    watching = board.start("status", "--watch", "--json")
    until(lambda: watching.out, "it did not begin")
    board.program.process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: "has fallen silent; trying again" in watching.err, "nobody noticed")
    finally:
        board.program.process.send_signal(signal.SIGCONT)
    until(lambda: "connected again" in watching.err, "it did not come back")


def test_the_server_may_be_named_by_flag_or_environment_and_needs_no_scheme(
    board: ServedBoard, pulseboard: Pulseboard
) -> None:
    for arguments, env in (
        (("--server", board.url.removeprefix("http://")), {}),
        ((), {"PULSEBOARD_SERVER": f"{board.url}/"}),
        (("--server", board.url), {"PULSEBOARD_SERVER": f"http://127.0.0.1:{free_port()}"}),
        ((), {"PULSEBOARD_SERVER": board.url, "HTTP_PROXY": "http://127.0.0.1:1"}),
    ):
        asked = pulseboard("status", *arguments, **env)
        assert (asked.wait(), asked.err) == (0, "")
        assert "balance-sync" in asked.out
