"""One supervised child: its restarts, and the part of its output that is shown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import tracemalloc
from collections.abc import AsyncIterator

from tests.support.children import QUICK, Output, program

from pulseboard.supervision.child import Backoff, Child, ChildSpec, Console


@contextlib.asynccontextmanager
async def run_child(code: str, out: Output, backoff: Backoff = QUICK) -> AsyncIterator[Child]:
    child = Child(ChildSpec("child", program(code)), os.environ, Console(out, 5), backoff)
    task = asyncio.create_task(child.run_until_stopped())
    try:
        yield child
    finally:
        child.kill()
        await asyncio.wait_for(task, 5)


async def test_crashing_child_is_restarted_after_growing_delays() -> None:
    out = Output()
    async with run_child("raise SystemExit(3)", out):
        await out.until("child", "starting", times=4)
    assert [re.sub(r".* in ", "", line) for line in out.lines("child")][:4] == [
        "0.05 s",
        "0.1 s",
        "0.2 s",
        "0.2 s",
    ]
    assert out.lines("child")[0].startswith("ended with code 3")


async def test_delay_starts_again_after_a_healthy_period() -> None:
    out = Output()
    async with run_child(
        "raise SystemExit(3)", out, Backoff(first_s=0.05, longest_s=9, healthy_s=0)
    ):
        await out.until("child", "restarting in 0.05 s", times=3)


async def test_missing_program_is_reported_and_retried() -> None:
    out = Output()
    child = Child(ChildSpec("child", ["no-such-program"]), os.environ, Console(out, 5), QUICK)
    task = asyncio.create_task(child.run_until_stopped())
    await out.until("child", "cannot be started", times=2)
    child.terminate()
    await asyncio.wait_for(task, 5)


async def test_output_is_aligned_bounded_and_without_control_characters() -> None:
    out = Output()
    code = r"import sys; sys.stdout.write('x' * 5_000_000 + '\n\x1b[2Jred\x07\r\n\xff\nlast')"
    tracemalloc.start()
    async with run_child(code, out):
        await out.until("child", "ended with code 0")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000
    lines = out.lines("child")
    assert lines[0] == "x" * 500 + " [cut]"
    assert lines[1] == "?[2Jred?"
    assert lines[3] == "last"
    assert all(row.startswith("child | ") for row in out.getvalue().splitlines())


async def test_end_of_a_child_is_noticed_while_a_grandchild_keeps_its_output_open() -> None:
    out = Output()
    # The grandchild sleeps for longer than LIMIT_S.
    sleeper = "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])"
    try:
        async with run_child(f"import subprocess, sys; print({sleeper}.pid)", out):
            await out.until("child", "ended with code 0")
    finally:
        for line in filter(str.isdigit, out.lines("child")):
            os.kill(int(line), signal.SIGKILL)


async def test_closed_terminal_does_not_stop_the_console() -> None:
    out = Output()
    console = Console(out, 5)
    out.close()
    console.print("child", "hello")
