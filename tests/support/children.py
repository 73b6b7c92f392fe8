"""Small programs to supervise, and a console that a test can wait for."""

from __future__ import annotations

import io
import sys

from tests.support.demo import until

from pulseboard.supervision.child import Backoff

LIMIT_S = 20  # for a program to start on a busy machine
QUICK = Backoff(first_s=0.05, longest_s=0.2, healthy_s=30)


class Output(io.StringIO):
    """What a console wrote, to be waited for."""

    def lines(self, name: str) -> list[str]:
        """All lines of one program."""
        rows = (row.split(" | ", 1) for row in self.getvalue().splitlines())
        return [text for who, text in rows if who.strip() == name]

    async def until(self, name: str, text: str, times: int = 1) -> None:
        """Wait until a program said something so often."""
        await until(lambda: sum(text in line for line in self.lines(name)) >= times, LIMIT_S)


def program(code: str) -> list[str]:
    return [sys.executable, "-S", "-u", "-c", code]
