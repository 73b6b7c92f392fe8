"""The examples of docs/cli.md run unchanged."""

import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cli import RunCommand, ServedBoard, until

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"


def examples() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def running_board(board: ServedBoard) -> Iterator[ServedBoard]:
    """Yield the board of the document, with one running service."""
    service = board.service("balance-sync", instance="web-1:4711", heartbeat_s=1)

    @service.command("trigger")
    def trigger(user_id: int) -> str:
        """Sync one user."""
        return f"synced {user_id}"

    with service:
        service.update(phase="idle", queue={"depth": 0})
        service.log("error", "a timeout")
        until(lambda: board.read("/api/logs")["lines"], "the log line did not arrive")
        yield board


def test_each_example_runs_without_an_error(
    running_board: ServedBoard, run_in_process: RunCommand
) -> None:
    for line in examples():
        program, *arguments = shlex.split(line)
        assert program == "pulseboard"
        if {"-f", "--watch"} & {*arguments}:
            started = running_board.start(*arguments)
            until(lambda: started.out, f"{line} showed nothing")  # noqa: B023
            assert started.stop(signal.SIGINT) == 130
        else:
            code, out, err = run_in_process(*arguments)
            assert (code, err) in ((0, ""), (0, "(no status is kept)\n")), line
            assert out or "1h" in arguments  # no event is older than an hour


def test_every_reading_command_has_an_example() -> None:
    assert {line.split()[1] for line in examples()} == {"status", "logs", "history", "wait", "send"}
