"""Small programs to supervise, and a console whose output a test can wait for."""

from __future__ import annotations

import io
import sys

from tests.support.demo import until

from pulseboard.supervision.child import Backoff

LIMIT_S = 20  # for a program to start on a busy machine
QUICK = Backoff(first_s=0.05, longest_s=0.2, healthy_s=30)


class Output(io.StringIO):
    """The output of a console; a test can wait for a line in it."""

    def lines(self, name: str) -> list[str]:
        """Return all lines of one program."""
        rows = (row.split(" | ", 1) for row in self.getvalue().splitlines())
        return [text for label, text in rows if label.strip() == name]

    async def until(self, name: str, text: str, times: int = 1) -> None:
        """Wait until a program has printed a text at least `times` times."""
        await until(lambda: sum(text in line for line in self.lines(name)) >= times, LIMIT_S)


def program(code: str) -> list[str]:
    return [sys.executable, "-S", "-u", "-c", code]
