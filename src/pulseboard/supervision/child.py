"""One supervised child: started, relayed line by line, started again after a crash.

Invariant: what a child does or prints, however much, neither ends nor delays another's supervision.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, TextIO

import msgspec

from pulseboard.process import spawn_async

_LONGEST_LINE = 500
_READ_BYTES = 8192
REFUSED = 2
"""The exit code of a command whose options are wrong: starting it again would change nothing."""


class ChildSpec(msgspec.Struct, frozen=True):
    """A program to keep running; `env` is added to the environment that all children get."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = {}
    pass_fds: Sequence[int] = ()


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait before a crashed child is started again."""

    first_s: float = 1.0
    longest_s: float = 10.0
    healthy_s: float = 30.0
    """A child that ran this long starts over with the first pause."""

    def pause_s(self, crashes: int) -> float:
        """Give the pause after so many crashes in a row: doubling, capped."""
        return min(self.longest_s, self.first_s * 2.0 ** min(crashes - 1, 32))


class Console:
    """Writes lines with the name of who said them, aligned; a terminal that went away is no error."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._width = width

    def say(self, name: str, line: str) -> None:
        """Write one line, without what would move a cursor or ring a bell."""
        shown = "".join(char if char.isprintable() or char == "\t" else "?" for char in line)
        with contextlib.suppress(OSError, ValueError):
            print(f"{name:<{self._width}} | {shown}", file=self._out, flush=True)


class Child:
    """Keeps one program running until told to stop."""

    def __init__(
        self, spec: ChildSpec, env: Mapping[str, str], console: Console, backoff: Backoff
    ) -> None:
        self.spec = spec
        self.process: asyncio.subprocess.Process | None = None
        self.refused = False
        self._env = {**env, **spec.env}
        self._console = console
        self._backoff = backoff
        self._stopping = asyncio.Event()

    async def keep_running(self) -> None:
        """Start the program, and again after each end of it; return when stopped or when it refuses its options."""
        crashes = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            ending = await self._run_once()
            if self._stopping.is_set() or self.refused:
                break
            crashes = 1 if time.monotonic() - started >= self._backoff.healthy_s else crashes + 1
            pause_s = self._backoff.pause_s(crashes)
            self._console.say(self.spec.name, f"{ending}; starting it again in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def terminate(self) -> None:
        """Ask the program to end, and do not start it again."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the program and its process group, now."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)  # it leads a session, so its children go too
            else:
                process.send_signal(number)

    async def _run_once(self) -> str:
        """Run the program to its end and say how it ended."""
        # A pipe of our own: asyncio's would put off the end of the child until its grandchildren let go of it too.
        read_end, write_end = os.pipe()
        output, its_output = os.fdopen(read_end, "rb", 0), os.fdopen(write_end, "wb", 0)
        try:
            process = self.process = await spawn_async(
                self.spec.argv,
                env=self._env,
                stdout=its_output,
                stderr=its_output,
                pass_fds=self.spec.pass_fds,
            )
        except OSError as error:
            output.close()
            return f"cannot be started: {error}"
        finally:
            its_output.close()
        if self._stopping.is_set():  # the order to stop came while it was being started
            self._signal(signal.SIGTERM)
        relay = asyncio.create_task(self._relay(output))
        try:
            code = await process.wait()
            # What is still in the pipe gets a moment, not for ever: a grandchild may never close it.
            await asyncio.wait((relay,), timeout=0.2)
        finally:
            relay.cancel()
            await asyncio.gather(relay, return_exceptions=True)
            output.close()
        self.refused = code == REFUSED and not self._stopping.is_set()
        return (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )

    async def _relay(self, output: IO[bytes]) -> None:
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), output
        )
        with contextlib.closing(transport):
            await self._relay_lines(reader)

    async def _relay_lines(self, reader: asyncio.StreamReader) -> None:
        line = b""
        while chunk := await reader.read(_READ_BYTES):
            *complete, line = (line + chunk).split(b"\n")
            for each in complete:
                self._say(each)
            if len(line) > _LONGEST_LINE:
                line = line[: _LONGEST_LINE + 1]  # the rest of an endless line is not kept
        if line:
            self._say(line)

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self._console.say(
            self.spec.name, text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + " [cut]"
        )


def python(*arguments: str) -> list[str]:
    """Give the argv that runs a module or file with this very interpreter."""
    return [sys.executable, *arguments]
