"""`pulseboard logs` and `history`: what was said, and with `-f` what is said from now on, each line once."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from tests.acceptance.cli.test_status import _ANSI
from tests.support.cli import RunCommand, ServedBoard, Terminal, until

from pulseboard import Service
from pulseboard.bus.keys import Keys

SHOUTED = 12


def messages(text: str) -> list[str]:
    whole, _, _ = text.rpartition("\n")  # the last may be on its way
    return [json.loads(line)["message"] for line in whole.splitlines()]


def kept(board: ServedBoard, count: int, query: str = "limit=1000") -> None:
    until(lambda: len(board.read(f"/api/logs?{query}")["lines"]) == count, "not every line is kept")


@pytest.fixture
def shouted(board: ServedBoard) -> ServedBoard:
    for n in range(SHOUTED):
        level = "error" if n % 4 == 0 else "info"
        board.publish_log(
            "report" if n % 3 else "sync",
            f"line {n}",
            level=level,
            instance="host:1",
            logger="core",
            user=n,
        )
    kept(board, SHOUTED)
    return board


@pytest.fixture
def service(board: ServedBoard) -> Iterator[Service]:
    """A service that logs whether a server is there or not."""
    with board.service("report", instance="host:1", heartbeat_s=60) as service:
        yield service


def sent(service: Service) -> None:
    until(lambda: service.stats().lines.waiting == 0, "not every line was sent")


def test_all_services_are_merged_one_plain_line_a_record(shouted: ServedBoard) -> None:
    code, out, err = shouted.run_command("logs")
    assert (code, err) == (0, "")
    columns = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert [(row[2], row[4]) for row in columns] == [
        ("report" if n % 3 else "sync", f"core: line {n}") for n in range(SHOUTED)
    ]
    assert columns[4] == [
        "2026-11-18T11:06:40.123Z",
        "error",
        "report",
        "host:1",
        "core: line 4",
        "user=4",
    ]


def test_what_has_several_lines_is_still_one_record_in_a_pipe_and_a_block_on_a_terminal(
    board: ServedBoard,
) -> None:
    board.publish_log(
        "sync", "a\nb \x1b[31m", level="error", traceback="Traceback:\n  x\nValueError: no"
    )
    kept(board, 1)
    (line,) = board.run_command("logs", "sync").lines
    assert r"a\nb \x1b[31m  traceback=" in line
    shown = board.run_in_terminal("logs", "sync")
    lines = [line.rstrip() for line in _ANSI.sub("", shown).splitlines()]
    assert lines[0].endswith("error     a")
    assert lines[1:5] == [r"    b \x1b[31m", "    Traceback:", "      x", "    ValueError: no"]
    assert "\x1b[31merror" in shown


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["sync"], [0, 3, 6, 9]),
        (["-n", "2"], [10, 11]),
        (["-n", "0"], []),
        (["--level", "ERR"], [0, 4, 8]),
        (["--contains", "LINE 1"], [1, 10, 11]),
        (["--since", "1h"], [*range(SHOUTED)]),
        (["report", "--since", "2026-01-01", "-n", "3"], [8, 10, 11]),
        (["sync", "--since", "2026-01-01", "--level", "error"], [0]),
    ],
)
def test_lines_are_chosen(
    shouted: ServedBoard, run_in_process: RunCommand, arguments: list[str], wanted: list[int]
) -> None:
    code, out, err = run_in_process("logs", *arguments, "--json")
    assert (code, messages(out)) == (0, [f"line {n}" for n in wanted])
    assert err == ("" if wanted else "(no lines)\n")


def test_as_json_each_line_is_one_of_the_api(
    shouted: ServedBoard, run_in_process: RunCommand
) -> None:
    lines = [json.loads(line) for line in run_in_process("logs", "report", "--json").lines]
    there = shouted.read("/api/services/report/logs")["lines"]
    assert [(line["id"], line["fields"], line["instance"]) for line in lines] == [
        (line["id"], line["fields"], line["instance"]) for line in there
    ]


def test_more_than_a_page_is_read_in_order(service: Service, run_in_process: RunCommand) -> None:
    for n in range(2_300):
        service.log("info", f"{n}")
    sent(service)
    assert messages(run_in_process("logs", "report", "-n", "2200", "--json").out) == [
        f"{n}" for n in range(100, 2_300)
    ]
    assert messages(run_in_process("logs", "--since", "1h", "--json").out) == [
        f"{n}" for n in range(2_300)
    ]


@pytest.mark.usefixtures("stoppable_server")
def test_following_goes_on_over_a_killed_server_without_losing_or_doubling_a_line(
    board: ServedBoard, service: Service
) -> None:
    for n in range(5):
        service.log("info", f"{n}")
    sent(service)
    following = board.start("logs", "-f", "-n", "3", "--json")
    until(lambda: messages(following.out) == ["2", "3", "4"], "what was there was not shown")
    said = 5
    for _ in range(2):
        for _ in range(50):
            service.log("info", f"{said}")
            said += 1
        board.program.stop(signal.SIGKILL)
        for _ in range(50):
            service.log("info", f"{said}")
            said += 1
        sent(service)
        board.serve()
    until(lambda: len(messages(following.out)) >= said - 2, "not every line came")
    assert following.stop(signal.SIGINT) == 130
    assert messages(following.out) == [f"{n}" for n in range(2, said)]
    assert "trying again" in following.err
    assert "connected again" in following.err
    assert "Traceback" not in following.err


@pytest.mark.usefixtures("stoppable_server")
def test_what_the_stream_cannot_bring_again_is_read_from_history(
    board: ServedBoard, service: Service, raw: redis.Redis, keys: Keys
) -> None:
    following = board.start("logs", "report", "-f", "--json")
    service.log("info", "0")
    until(lambda: messages(following.out) == ["0"], "the first was not shown")
    board.program.stop(signal.SIGKILL)
    for n in range(1, 700):
        service.log("info", f"{n}")
    sent(service)
    raw.xtrim(keys.feed, maxlen=0, approximate=False)  # more happened than the feed holds
    board.serve()
    until(lambda: "lines read from history" in following.err, "the gap was not told")
    service.log("info", "700")
    until(lambda: "700" in messages(following.out), "what came after was not shown")
    assert messages(following.out) == [f"{n}" for n in range(701)]
    assert "lines may have been missed: " in following.err
    assert "(699 lines read from history; what it no longer held is missing)" in following.err


def test_lines_that_a_service_dropped_are_told_with_their_number(
    board: ServedBoard, service: Service
) -> None:
    following = board.start("logs", "report", "-f", "--json")
    service.log("info", "begin")
    until(lambda: messages(following.out) == ["begin"], "it did not begin")
    for n in range(20_000):
        service.log("info", f"{n}")
    sent(service)
    lines = service.stats().lines
    assert lines.overflowed > 0
    until(lambda: len(messages(following.out)) == lines.sent, "not every line came")
    told = re.findall(r"^\(([\d,]+) lines? dropped by report\)$", following.err, re.MULTILINE)
    assert sum(int(count.replace(",", "")) for count in told) == lines.overflowed
    _, out, err = board.run_command("logs", "report", "-n", "10000", "--json")
    assert messages(out) == messages(following.out)
    assert sum(json.loads(line).get("dropped", 0) for line in out.splitlines()) == lines.overflowed
    assert re.findall(r"^\(([\d,]+) lines? dropped by report\)$", err, re.MULTILINE) == told


def test_filters_hold_for_what_is_followed(board: ServedBoard) -> None:
    following = board.start("logs", "sync", "-f", "--level", "error", "--contains", "disk")
    board.publish_log("sync", "disk full", level="error")
    until(lambda: "disk full" in following.out, "it was not shown")
    for service, message, level in (
        ("sync", "disk slow", "info"),
        ("sync", "cpu", "error"),
        ("other", "disk", "error"),
    ):
        board.publish_log(service, message, level=level)
    board.publish_log("sync", "the end of the disk", level="critical")
    until(lambda: "the end" in following.out, "the last was not shown")
    assert [line.split("  ")[-1] for line in following.out.splitlines()] == [
        "disk full",
        "the end of the disk",
    ]


def test_a_reader_that_has_enough_ends_it_quietly(shouted: ServedBoard) -> None:
    for follow in ((), ("-f",)):
        program = subprocess.Popen(
            [sys.executable, "-m", "pulseboard", "logs", *follow, "--server", shouted.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        assert "line 0" in program.stdout.readline()
        program.stdout.close()
        assert program.stderr is not None
        said = program.stderr.read()
        assert (program.wait(20), said) in ((141, ""), (0, ""))  # all may have been written before
        program.stderr.close()


def test_a_service_that_is_not_there_yet_can_be_followed(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    following = board.start("logs", "-f", "later", "--json")
    until(lambda: "Waiting for it" in following.err, "it did not wait")
    board.publish_log("later", "here I am")
    until(lambda: messages(following.out) == ["here I am"], "what came was not shown")
    assert following.stop(signal.SIGINT) == 130
    answer = run_in_process("logs", "never")
    assert (answer.code, answer.out) == (1, "")
    assert "No service 'never'" in answer.err


def test_following_on_a_terminal_ends_by_ctrl_c(shouted: ServedBoard) -> None:
    with Terminal(("logs", "-f"), shouted.url, 100, 20) as terminal:
        terminal.until("line 11")
        terminal.process.send_signal(signal.SIGINT)
        shown = terminal.rest()
    assert terminal.process.returncode == 130
    assert "Traceback" not in shown


WRONG: tuple[tuple[list[str], int, str], ...] = (
    (["--level", "loud"], 2, "a level is one of"),
    (["--since", "yesterday"], 2, "--since is a time"),
    (["-n", "-1"], 2, "--lines"),
    (["No-Name"], 2, "cannot name a service"),
    (["-f", "--server", "http://127.0.0.1:1"], 3, "connection refused"),
)


def test_what_is_wrong_is_one_line_and_a_code(
    board: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, code, said in WRONG:
        answer = run_in_process("logs", *arguments)
        assert (answer.code, answer.out) == (code, ""), arguments
        assert answer.err.startswith("pulseboard: ")
        assert answer.err.count("\n") == 1
        assert said in answer.err


class TestHistory:
    @pytest.fixture
    def spoken(self, board: ServedBoard) -> ServedBoard:
        for n in range(30):
            board.publish("report", "host:1", {"n": n, "phase": "in work"}, stopped=n == 29)
        until(lambda: self.read(board)[-1:] == [29], "not all is kept")
        return board

    def read(self, board: ServedBoard) -> list[Any]:
        return [
            event["status"]["n"] for event in board.read("/api/services/report/history")["events"]
        ]

    def test_in_a_pipe_each_event_is_a_plain_line(self, spoken: ServedBoard) -> None:
        code, out, err = spoken.run_command("history", "report", "-n", "2")
        assert (code, err) == (0, "")
        columns = [re.split(r" {2,}", line) for line in out.splitlines()]
        assert [row[1:] for row in columns] == [
            ["host:1", "status", 'n=28 phase="in work"'],
            ["host:1", "stopped", 'n=29 phase="in work"'],
        ]
        assert all(
            re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[0]) for row in columns
        )

    def test_as_json_it_is_what_the_server_says(
        self, spoken: ServedBoard, run_in_process: RunCommand
    ) -> None:
        there = spoken.read("/api/services/report/history")["events"]
        for arguments, wanted in (
            ((), there[-20:]),
            (("--since", "1h"), there),
            (("-n", "5"), there[-5:]),
        ):
            lines = run_in_process("history", "report", "--json", *arguments).lines
            assert [json.loads(line) for line in lines] == wanted

    def test_it_is_bounded_by_moments(
        self, spoken: ServedBoard, run_in_process: RunCommand
    ) -> None:
        middle = spoken.read("/api/services/report/history")["events"][10]["id"].split("-")[0]
        since = run_in_process("history", "report", "--since", middle, "--json").lines
        until_then = run_in_process(
            "history", "report", "--until", f"{int(middle) - 1}", "-n", "1000", "--json"
        ).lines
        assert len(since) + len(until_then) == 30
        assert run_in_process("history", "report", "--until", "2026-01-01T00:00:00Z") == (
            0,
            "",
            "(nothing kept)\n",
        )

    def test_on_a_terminal_what_changed_stands_out(self, spoken: ServedBoard) -> None:
        shown = spoken.run_in_terminal("history", "report", "-n", "2")
        *_, last = [line for line in shown.splitlines() if line]
        assert '\x1b[2mphase="in work"' in last
        assert "\x1b[2mn=29" not in last

    def test_an_end_before_the_start_is_one_line_and_code_2(
        self, run_in_process: RunCommand
    ) -> None:
        code, out, err = run_in_process("history", "report", "--since", "1h", "--until", "2h")
        assert (code, out) == (2, "")
        assert err == "pulseboard: `to` is before `from`.\n"


def test_an_export_that_is_broken_off_is_an_error(
    board: ServedBoard, raw: redis.Redis, keys: Keys
) -> None:
    """What came before is printed; that something is missing must not be overlooked."""
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
