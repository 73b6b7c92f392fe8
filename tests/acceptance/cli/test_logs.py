"""`pulseboard logs` and `history`: stored lines and events; `-f` follows each new line once."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from tests.acceptance.cli.test_status import ANSI_SEQUENCE
from tests.support.cli import RunCommand, ServedBoard, Terminal, until

from pulseboard import Service
from pulseboard.bus.keys import Keys

LOGGED_LINES = 12


def messages(text: str) -> list[str]:
    complete, _, _ = text.rpartition("\n")  # the last line may be incomplete
    return [json.loads(line)["message"] for line in complete.splitlines()]


def wait_until_stored(board: ServedBoard, count: int, query: str = "limit=1000") -> None:
    until(
        lambda: len(board.read(f"/api/logs?{query}")["lines"]) == count, "not every line is stored"
    )


@pytest.fixture
def logged_board(board: ServedBoard) -> ServedBoard:
    for n in range(LOGGED_LINES):
        level = "error" if n % 4 == 0 else "info"
        board.publish_log(
            "report" if n % 3 else "sync",
            f"line {n}",
            level=level,
            instance="host:1",
            logger="core",
            user=n,
        )
    wait_until_stored(board, LOGGED_LINES)
    return board


@pytest.fixture
def service(board: ServedBoard) -> Iterator[Service]:
    """Run a service in this process, which logs also while the server is down."""
    with board.service("report", instance="host:1", heartbeat_s=60) as service:
        yield service


def wait_until_sent(service: Service) -> None:
    until(lambda: service.stats().lines.waiting == 0, "not every line was sent")


def test_lines_of_all_services_are_merged_one_line_each(logged_board: ServedBoard) -> None:
    code, out, err = logged_board.run_command("logs")
    assert (code, err) == (0, "")
    columns = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert [(row[2], row[4]) for row in columns] == [
        ("report" if n % 3 else "sync", f"core: line {n}") for n in range(LOGGED_LINES)
    ]
    assert columns[4] == [
        "2026-11-18T11:06:40.123Z",
        "error",
        "report",
        "host:1",
        "core: line 4",
        "user=4",
    ]


def test_record_of_several_lines_is_one_line_in_a_pipe_and_a_block_in_a_terminal(
    board: ServedBoard,
) -> None:
    board.publish_log(
        "sync", "a\nb \x1b[31m", level="error", traceback="Traceback:\n  x\nValueError: no"
    )
    wait_until_stored(board, 1)
    (line,) = board.run_command("logs", "sync").lines
    assert r"a\nb \x1b[31m  traceback=" in line
    shown = board.run_in_terminal("logs", "sync")
    lines = [line.rstrip() for line in ANSI_SEQUENCE.sub("", shown).splitlines()]
    assert lines[0].endswith("error     a")
    assert lines[1:5] == [r"    b \x1b[31m", "    Traceback:", "      x", "    ValueError: no"]
    assert "\x1b[31merror" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sync"], [0, 3, 6, 9]),
        (["-n", "2"], [10, 11]),
        (["-n", "0"], []),
        (["--level", "ERR"], [0, 4, 8]),
        (["--contains", "LINE 1"], [1, 10, 11]),
        (["--since", "1h"], [*range(LOGGED_LINES)]),
        (["report", "--since", "2026-01-01", "-n", "3"], [8, 10, 11]),
        (["sync", "--since", "2026-01-01", "--level", "error"], [0]),
    ],
)
def test_options_filter_the_lines(
    logged_board: ServedBoard, run_in_process: RunCommand, arguments: list[str], expected: list[int]
) -> None:
    code, out, err = run_in_process("logs", *arguments, "--json")
    assert (code, messages(out)) == (0, [f"line {n}" for n in expected])
    assert err == ("" if expected else "(no lines)\n")


def test_json_lines_equal_those_of_the_api(
    logged_board: ServedBoard, run_in_process: RunCommand
) -> None:
    lines = [json.loads(line) for line in run_in_process("logs", "report", "--json").lines]
    from_api = logged_board.read("/api/services/report/logs")["lines"]
    assert [(line["id"], line["fields"], line["instance"]) for line in lines] == [
        (line["id"], line["fields"], line["instance"]) for line in from_api
    ]


def test_several_pages_are_read_in_order(service: Service, run_in_process: RunCommand) -> None:
    for n in range(2_300):
        service.log("info", f"{n}")
    wait_until_sent(service)
    assert messages(run_in_process("logs", "report", "-n", "2200", "--json").out) == [
        f"{n}" for n in range(100, 2_300)
    ]
    assert messages(run_in_process("logs", "--since", "1h", "--json").out) == [
        f"{n}" for n in range(2_300)
    ]


@pytest.mark.usefixtures("stoppable_server")
def test_follow_continues_after_a_killed_server_without_loss_or_duplicate(
    board: ServedBoard, service: Service
) -> None:
    for n in range(5):
        service.log("info", f"{n}")
    wait_until_sent(service)
    following = board.start("logs", "-f", "-n", "3", "--json")
    until(lambda: messages(following.out) == ["2", "3", "4"], "the stored lines were not shown")
    logged_count = 5
    for _ in range(2):
        for _ in range(50):
            service.log("info", f"{logged_count}")
            logged_count += 1
        board.program.stop(signal.SIGKILL)
        for _ in range(50):
            service.log("info", f"{logged_count}")
            logged_count += 1
        wait_until_sent(service)
        board.serve()
    until(lambda: len(messages(following.out)) >= logged_count - 2, "not every line arrived")
    assert following.stop(signal.SIGINT) == 130
    assert messages(following.out) == [f"{n}" for n in range(2, logged_count)]
    assert "trying again" in following.err
    assert "connected again" in following.err
    assert "Traceback" not in following.err


@pytest.mark.usefixtures("stoppable_server")
def test_lines_beyond_the_replay_of_the_stream_are_read_from_history(
    board: ServedBoard, service: Service, raw: redis.Redis, keys: Keys
) -> None:
    following = board.start("logs", "report", "-f", "--json")
    service.log("info", "0")
    until(lambda: messages(following.out) == ["0"], "the first line was not shown")
    board.program.stop(signal.SIGKILL)
    for n in range(1, 700):
        service.log("info", f"{n}")
    wait_until_sent(service)
    raw.xtrim(keys.feed, maxlen=0, approximate=False)  # the feed no longer holds these lines
    board.serve()
    until(lambda: "lines read from history" in following.err, "the gap was not reported")
    service.log("info", "700")
    until(lambda: "700" in messages(following.out), "the line after the gap was not shown")
    assert messages(following.out) == [f"{n}" for n in range(701)]
    assert "lines may have been missed: " in following.err
    assert "(699 lines read from history; trimmed lines are missing)" in following.err


def test_number_of_dropped_lines_is_reported(board: ServedBoard, service: Service) -> None:
    following = board.start("logs", "report", "-f", "--json")
    service.log("info", "begin")
    until(lambda: messages(following.out) == ["begin"], "the first line was not shown")
    for n in range(20_000):
        service.log("info", f"{n}")
    wait_until_sent(service)
    lines = service.stats().lines
    assert lines.overflowed > 0
    until(lambda: len(messages(following.out)) == lines.sent, "not every line arrived")
    dropped_counts = re.findall(
        r"^\(([\d,]+) lines? dropped by report\)$", following.err, re.MULTILINE
    )
    assert sum(int(count.replace(",", "")) for count in dropped_counts) == lines.overflowed
    _, out, err = board.run_command("logs", "report", "-n", "10000", "--json")
    assert messages(out) == messages(following.out)
    assert sum(json.loads(line).get("dropped", 0) for line in out.splitlines()) == lines.overflowed
    assert (
        re.findall(r"^\(([\d,]+) lines? dropped by report\)$", err, re.MULTILINE) == dropped_counts
    )


def test_filters_apply_to_followed_lines(board: ServedBoard) -> None:
    following = board.start("logs", "sync", "-f", "--level", "error", "--contains", "disk")
    board.publish_log("sync", "disk full", level="error")
    until(lambda: "disk full" in following.out, "the line was not shown")
    for service, message, level in (
        ("sync", "disk slow", "info"),
        ("sync", "cpu", "error"),
        ("other", "disk", "error"),
    ):
        board.publish_log(service, message, level=level)
    board.publish_log("sync", "the end of the disk", level="critical")
    until(lambda: "the end" in following.out, "the last line was not shown")
    assert [line.split("  ")[-1] for line in following.out.splitlines()] == [
        "disk full",
        "the end of the disk",
    ]


def test_closed_output_pipe_ends_the_command_without_an_error(logged_board: ServedBoard) -> None:
    for follow in ((), ("-f",)):
        program = subprocess.Popen(
            [sys.executable, "-m", "pulseboard", "logs", *follow, "--server", logged_board.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        assert "line 0" in program.stdout.readline()
        program.stdout.close()
        assert program.stderr is not None
        errors = program.stderr.read()
        # Exit code 0 is possible: it may have written all lines before the pipe closed.
        assert (program.wait(20), errors) in ((141, ""), (0, ""))
        program.stderr.close()


def test_service_that_has_not_started_can_be_followed(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    following = board.start("logs", "-f", "later", "--json")
    until(lambda: "Waiting for it" in following.err, "the command did not wait")
    board.publish_log("later", "first line")
    until(lambda: messages(following.out) == ["first line"], "the first line was not shown")
    assert following.stop(signal.SIGINT) == 130
    result = run_in_process("logs", "never")
    assert (result.code, result.out) == (1, "")
    assert "No service 'never'" in result.err


def test_ctrl_c_ends_follow_in_a_terminal_with_code_130(logged_board: ServedBoard) -> None:
    with Terminal(("logs", "-f"), logged_board.url, 100, 20) as terminal:
        terminal.until("line 11")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.rest()
    assert terminal.process.returncode == 130
    assert "Traceback" not in shown


INVALID_ARGUMENTS: tuple[tuple[list[str], int, str], ...] = (
    (["--level", "loud"], 2, "a level must be one of"),
    (["--since", "yesterday"], 2, "--since is an age"),
    (["-n", "-1"], 2, "--lines"),
    (["No-Name"], 2, "cannot name a service"),
    (["-f", "--server", "http://127.0.0.1:1"], 3, "connection refused"),
)


def test_invalid_arguments_print_one_line_and_exit_with_a_code(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, code, text in INVALID_ARGUMENTS:
        result = run_in_process("logs", *arguments)
        assert (result.code, result.out) == (code, ""), arguments
        assert result.err.startswith("pulseboard: ")
        assert result.err.count("\n") == 1
        assert text in result.err


class TestHistory:
    @pytest.fixture
    def board_with_history(self, board: ServedBoard) -> ServedBoard:
        for n in range(30):
            board.publish("report", "host:1", {"n": n, "phase": "in work"}, stopped=n == 29)
        until(lambda: self.read(board)[-1:] == [29], "not every event is stored")
        return board

    def read(self, board: ServedBoard) -> list[Any]:
        return [
            event["status"]["n"] for event in board.read("/api/services/report/history")["events"]
        ]

    def test_each_event_is_one_line_in_a_pipe(self, board_with_history: ServedBoard) -> None:
        code, out, err = board_with_history.run_command("history", "report", "-n", "2")
        assert (code, err) == (0, "")
        columns = [re.split(r" {2,}", line) for line in out.splitlines()]
        assert [row[1:] for row in columns] == [
            ["host:1", "status", 'n=28 phase="in work"'],
            ["host:1", "stopped", 'n=29 phase="in work"'],
        ]
        assert all(
            re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[0]) for row in columns
        )

    def test_json_events_equal_those_of_the_api(
        self, board_with_history: ServedBoard, run_in_process: RunCommand
    ) -> None:
        from_api = board_with_history.read("/api/services/report/history")["events"]
        for arguments, expected in (
            ((), from_api[-20:]),
            (("--since", "1h"), from_api),
            (("-n", "5"), from_api[-5:]),
        ):
            lines = run_in_process("history", "report", "--json", *arguments).lines
            assert [json.loads(line) for line in lines] == expected

    def test_since_and_until_bound_the_events(
        self, board_with_history: ServedBoard, run_in_process: RunCommand
    ) -> None:
        events = board_with_history.read("/api/services/report/history")["events"]
        middle = events[10]["id"].split("-")[0]
        since = run_in_process("history", "report", "--since", middle, "--json").lines
        until_then = run_in_process(
            "history", "report", "--until", f"{int(middle) - 1}", "-n", "1000", "--json"
        ).lines
        assert len(since) + len(until_then) == 30
        assert run_in_process("history", "report", "--until", "2026-01-01T00:00:00Z") == (
            0,
            "",
            "(no status is kept)\n",
        )

    def test_changed_fields_stand_out_in_a_terminal(self, board_with_history: ServedBoard) -> None:
        shown = board_with_history.run_in_terminal("history", "report", "-n", "2")
        *_, last = [line for line in shown.splitlines() if line]
        assert '\x1b[2mphase="in work"' in last
        assert "\x1b[2mn=29" not in last

    def test_end_before_the_start_prints_one_line_and_exits_2(
        self, run_in_process: RunCommand
    ) -> None:
        code, out, err = run_in_process("history", "report", "--since", "1h", "--until", "2h")
        assert (code, out) == (2, "")
        assert err == "pulseboard: `to` is before `from`.\n"


def test_incomplete_export_is_an_error(board: ServedBoard, raw: redis.Redis, keys: Keys) -> None:
    """The events before the gap are printed, and the command reports the gap as an error."""
    for n in range(600):
        event = {"service": "report", "timestamp": 1, "status": {"n": n, "text": "x" * 30_000}}
        raw.xadd(keys.history("report"), {"data": json.dumps(event)})
    program = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pulseboard",
            "history",
            "report",
            "--since",
            "1h",
            "--json",
            "--server",
            board.url,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    first = program.stdout.readline()
    assert json.loads(first)["status"]["n"] == 0
    raw.delete(keys.history("report"))
    out, err = program.communicate(timeout=30)
    assert program.returncode == 1
    assert err.startswith("pulseboard: The export has a gap here")
    assert len(out.splitlines()) < 599
