"""`pulseboard send`: a command to a running service; the exit code reports the result."""

import json
from collections.abc import Iterator

import pytest
from tests.support.cli import RunCommand, ServedBoard, until

from pulseboard import Service


@pytest.fixture
def till(board: ServedBoard) -> Iterator[ServedBoard]:
    """Yield a board on which two instances of the service `till` accept commands."""
    services: list[Service] = []
    for name in ("host:1", "host:2"):
        service = board.service("till", instance=name, heartbeat_s=1)

        @service.command("count")
        def count(by: int = 1, name: str = name) -> dict[str, object]:
            """Count up."""
            return {"by": by, "at": name}

        @service.command("break")
        def fail_on_second(name: str = name) -> None:
            """Fail on one instance."""
            if name == "host:2":
                raise ValueError("it is stuck")

        services.append(service.start())
        service.update(open=True)

    def accepting_instances() -> int:
        found = board.read("/api/services/till").get("instances", [])
        return sum("count" in instance["commands"] for instance in found)

    until(lambda: accepting_instances() == 2, "the instances do not accept `count`")
    yield board
    for service in services:
        service.stop()


def test_wait_prints_each_receipt_and_exits_0_when_all_instances_are_done(
    till: ServedBoard,
) -> None:
    code, out, err = till.run_command("send", "till", "count", "by=3", "--wait")
    assert (code, err) == (0, "")
    words = [line.split() for line in out.splitlines()]
    for instance in ("host:1", "host:2"):
        assert [word[0] for word in words if word[1] == instance] == [
            "received",
            "accepted",
            "done",
        ]
    assert {line.split("ms  ")[1] for line in out.splitlines() if line.startswith("done")} == {
        '{"by":3,"at":"host:1"}',
        '{"by":3,"at":"host:2"}',
    }


def test_failed_receipt_is_printed_and_exits_1(till: ServedBoard) -> None:
    code, out, err = till.run_command("send", "till", "break", "--wait")
    assert (code, err) == (1, "")
    assert [
        line
        for line in out.splitlines()
        if line.startswith("failed    host:2") and "it is stuck" in line
    ]
    assert [line for line in out.splitlines() if line.startswith("done      host:1")]


def test_without_wait_an_accepted_command_exits_0(
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

    until(lambda: receipts() == ["received", "accepted", "done"], "the command was not done")


def test_same_key_runs_the_command_once(till: ServedBoard, run_in_process: RunCommand) -> None:
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


INVALID_ARGUMENTS: tuple[tuple[list[str], int, str], ...] = (
    (["till", "dance"], 1, "count"),
    (["absent", "count"], 1, "absent"),
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


def test_rejected_command_prints_one_line_and_exits_with_a_code(
    till: ServedBoard, run_in_process: RunCommand
) -> None:
    for arguments, code, text in INVALID_ARGUMENTS:
        result = run_in_process("send", *arguments)
        assert (result.code, result.out) == (code, ""), arguments
        assert result.err.startswith("pulseboard: ")
        assert text in result.err
        assert result.err.count("\n") == 1
