"""One supervised child process: its start, its output line by line, its restart after a crash.

Invariant: no child stops or delays the supervision of another child.
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

_MAX_LINE_CHARS = 500
_READ_BYTES = 8192
REFUSED = 2
"""The exit code of a program with wrong options; a restart would not help."""


class ChildSpec(msgspec.Struct, frozen=True):
    """A program to keep running; `env` is added to the environment of all children."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = {}
    pass_fds: Sequence[int] = ()


class Backoff(msgspec.Struct, frozen=True):
    """The pause before a crashed child is restarted."""

    first_s: float = 1.0
    longest_s: float = 10.0
    healthy_s: float = 30.0
    """A child that ran for this time gets the first pause again."""

    def pause_s(self, crashes: int) -> float:
        """Return the pause after this number of consecutive crashes; it doubles up to the cap."""
        return min(self.longest_s, self.first_s * 2.0 ** min(crashes - 1, 32))


class Console:
    """Prints lines with the name of their process, aligned; a closed terminal is no error."""

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._width = width

    def print(self, name: str, line: str) -> None:
        """Print one line; control characters are replaced by `?`."""
        shown = "".join(char if char.isprintable() or char == "\t" else "?" for char in line)
        with contextlib.suppress(OSError, ValueError):
            print(f"{name:<{self._width}} | {shown}", file=self._out, flush=True)


class Child:
    """Keeps one program running until it is stopped."""

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

    async def run_until_stopped(self) -> None:
        """Run and restart the program until it is stopped or rejects its options."""
        crashes = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            ending = await self._run_once()
            if self._stopping.is_set() or self.refused:
                break
            crashes = 1 if time.monotonic() - started >= self._backoff.healthy_s else crashes + 1
            pause_s = self._backoff.pause_s(crashes)
            self._console.print(self.spec.name, f"{ending}; restarting in {pause_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    def terminate(self) -> None:
        """Send SIGTERM, and do not restart the program."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program and its process group."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)  # it leads a session, so its children end too
            else:
                process.send_signal(number)

    async def _run_once(self) -> str:
        """Run the program until it ends; return how it ended."""
        # asyncio's own pipe would delay the end of the child until its grandchildren close it.
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
        if self._stopping.is_set():  # stop was requested during the start
            self._signal(signal.SIGTERM)
        relay = asyncio.create_task(self._relay(output))
        try:
            code = await process.wait()
            # Read the rest of the pipe for a moment only: a grandchild may never close it.
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
                self._print_line(each)
            if len(line) > _MAX_LINE_CHARS:
                line = line[: _MAX_LINE_CHARS + 1]  # the rest of a very long line is dropped
        if line:
            self._print_line(line)

    def _print_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self._console.print(
            self.spec.name,
            text if len(text) <= _MAX_LINE_CHARS else text[:_MAX_LINE_CHARS] + " [cut]",
        )


def python(*arguments: str) -> list[str]:
    """Return the argv that runs a module or file with the current interpreter."""
    return [sys.executable, *arguments]
