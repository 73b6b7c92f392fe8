"""`pulseboard send`: a command to a service that runs, and the exit code that says what came of it."""

import json
from collections.abc import Iterator

import pytest
from tests.support.cli import RunCommand, ServedBoard, until

from pulseboard import Service


@pytest.fixture
def till(board: ServedBoard) -> Iterator[ServedBoard]:
    """A board on which two instances of the service `till` offer commands."""
    services: list[Service] = []
    for name in ("host:1", "host:2"):
        service = board.service("till", instance=name, heartbeat_s=1)

        @service.command("count")
        def count(by: int = 1, name: str = name) -> dict[str, object]:
            """Count up."""
            return {"by": by, "at": name}

        @service.command("break")
        def break_down(name: str = name) -> None:
            """Fail at one of them."""
            if name == "host:2":
                raise ValueError("it is stuck")

        services.append(service.start())
        service.update(open=True)

    def offered() -> int:
        found = board.read("/api/services/till").get("instances", [])
        return sum("count" in instance["commands"] for instance in found)

    until(lambda: offered() == 2, "they did not offer it")
    yield board
    for service in services:
        service.stop()


def test_with_wait_each_receipt_is_a_line_and_done_by_all_is_0(till: ServedBoard) -> None:
    code, out, err = till.run_command("send", "till", "count", "by=3", "--wait")
    assert (code, err) == (0, "")
    words = [line.split() for line in out.splitlines()]
    for host in ("host:1", "host:2"):
        assert [word[0] for word in words if word[1] == host] == ["received", "accepted", "done"]
    assert {line.split("ms  ")[1] for line in out.splitlines() if line.startswith("done")} == {
        '{"by":3,"at":"host:1"}',
        '{"by":3,"at":"host:2"}',
    }


def test_one_that_fails_is_told_and_is_1(till: ServedBoard) -> None:
    code, out, err = till.run_command("send", "till", "break", "--wait")
    assert (code, err) == (1, "")
    assert [
        line
        for line in out.splitlines()
        if line.startswith("failed    host:2") and "it is stuck" in line
    ]
    assert [line for line in out.splitlines() if line.startswith("done      host:1")]


def test_without_wait_it_is_enough_that_the_board_took_it(
    till: ServedBoard, run_in_process: RunCommand
) -> None:
    code, out, err = run_in_process("send", "till", "count", "--instance", "host:2", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["instances"] == ["host:2"]

    def receipts() -> list[str]:
        return [
            receipt["receipt"] for receipt in till.read(f"/api/commands/{record['id']}")["receipts"]
        ]

    until(lambda: receipts() == ["received", "accepted", "done"], "it was not done")


def test_the_same_key_does_it_once(till: ServedBoard, run_in_process: RunCommand) -> None:
    first = run_in_process(
        "send", "till", "count", "--key", "deploy-42", "--json", "--instance", "host:1"
    )
    again = run_in_process(
        "send", "till", "count", "--key", "deploy-42", "--wait", "--json", "--instance", "host:1"
    )
    assert (first.code, again.code) == (0, 0)
    receipts = [json.loads(line) for line in again.lines]
    assert [receipt["receipt"] for receipt in receipts] == ["received", "accepted", "done"]
    record = till.read(f"/api/commands/{json.loads(first.out)['id']}")
    assert [receipt["receipt"] for receipt in record["receipts"]] == [
        "received",
        "accepted",
        "done",
    ]


WRONG: tuple[tuple[list[str], int, str], ...] = (
    (["till", "dance"], 1, "count"),
    (["nobody", "count"], 1, "nobody"),
    (["balance-sync", "count"], 1, "balance-sync"),
    (["till", "count", "--instance", "host:9"], 1, "host:9"),
    (["till", "count", "by=much"], 2, "by"),
    (["till", "count", "much"], 2, "NAME=VALUE"),
    (["till", "count", "by=1", "by=2"], 2, "twice"),
    (["till", "count", "--deadline", "-1"], 2, "deadline_s"),
    (["Till", "count"], 2, "cannot name a service"),
    (["till"], 2, "COMMAND"),
    (["till", "count", "--server", "http://127.0.0.1:1"], 3, "connection refused"),
)


def test_what_cannot_be_sent_is_one_line_and_a_code(
    till: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, code, said in WRONG:
        answer = run_in_process("send", *arguments)
        assert (answer.code, answer.out) == (code, ""), arguments
        assert answer.err.startswith("pulseboard: ")
        assert said in answer.err
        assert answer.err.count("\n") == 1
