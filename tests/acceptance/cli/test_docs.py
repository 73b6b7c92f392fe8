"""The examples of docs/cli.md, run as they stand."""

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
def living(board: ServedBoard) -> Iterator[ServedBoard]:
    """The board of the document: one service, at work."""
    service = board.service("balance-sync", instance="web-1:4711", heartbeat_s=1)

    @service.command("trigger")
    def trigger(user_id: int) -> str:
        """Sync one user."""
        return f"synced {user_id}"

    with service:
        service.update(phase="idle", queue={"depth": 0})
        service.log("error", "a timeout")
        until(lambda: board.read("/api/logs")["lines"], "it did not come")
        yield board


def test_an_example_does_what_it_says(living: ServedBoard, run_in_process: RunCommand) -> None:
    for line in examples():
        program, *arguments = shlex.split(line)
        assert program == "pulseboard"
        if {"-f", "--watch"} & {*arguments}:
            started = living.start(*arguments)
            until(lambda: started.out, f"{line} showed nothing")  # noqa: B023  (called before the next line)
            assert started.stop(signal.SIGINT) == 130
        else:
            code, out, err = run_in_process(*arguments)
            assert (code, err) in ((0, ""), (0, "(nothing kept)\n")), line
            assert out or "1h" in arguments  # nothing is that old


def test_every_command_that_asks_is_told_of() -> None:
    assert {line.split()[1] for line in examples()} == {"status", "logs", "history", "wait", "send"}
