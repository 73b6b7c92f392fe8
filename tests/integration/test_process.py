"""A spawned child is the program itself, in its own session, and never outlives its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pulseboard import process

# The middle process: it spawns a sleeper, prints its pid, and waits until it is killed.
PARENT = """
import sys, time
from pulseboard import process
process._LINUX = process._LINUX and {uses_prctl}
child = process.spawn([sys.executable, "-S", "-c", {child!r}], stdout=1)
print("pid", child.pid, flush=True)
time.sleep(60)
"""
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time;"
    "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)];"
    "print('up', flush=True); time.sleep(60)"
)


@pytest.fixture(params=[True, False], ids=["prctl", "pipe"])
def uses_prctl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run the test with `prctl` of the Linux kernel, and again without it."""
    use_prctl = bool(request.param)
    if use_prctl and not process._LINUX:
        pytest.skip("prctl is Linux only")
    monkeypatch.setattr(process, "_LINUX", use_prctl)
    return use_prctl


def group_of(pgid: int) -> list[int]:
    """Return the running members of a process group."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    rows = [row.split() for row in table.splitlines()]
    return [
        int(pid) for pid, group, stat in rows if int(group) == pgid and not stat.startswith("Z")
    ]


def wait_until_gone(pgid: int, limit_s: float = 5.0) -> None:
    """Wait until no member of a process group runs: neither its leader nor a watcher."""
    deadline = time.monotonic() + limit_s
    while remaining := group_of(pgid):
        assert time.monotonic() < deadline, f"{remaining} of group {pgid} still run"
        time.sleep(0.02)


@contextmanager
def run_parent(uses_prctl: bool, child: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the middle process until it is killed; yield it and the pid of its child."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(uses_prctl=uses_prctl, child=child)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(process.__file__).parents[1])},
    ) as parent:
        try:
            assert parent.stdout is not None
            lines = sorted([parent.stdout.readline(), parent.stdout.readline()])
            assert lines[1] == "up\n"
            yield parent, int(lines[0].split()[1])
        finally:
            parent.kill()


@pytest.mark.parametrize("child", [SLEEPER, STUBBORN], ids=["default", "ignores-signals"])
def test_child_dies_when_its_parent_is_killed(uses_prctl: bool, child: str) -> None:
    with run_parent(uses_prctl, child) as (parent, pid):
        parent.kill()
        parent.wait()
        wait_until_gone(pid)


@pytest.mark.usefixtures("uses_prctl")
def test_child_is_the_program_itself_in_its_own_session() -> None:
    code = "import os; print(os.getpid(), os.getsid(0))"
    with process.spawn([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read().split() == [str(child.pid).encode()] * 2
    assert child.returncode == 0


@pytest.mark.usefixtures("uses_prctl")
def test_signals_and_exit_codes_are_those_of_the_program() -> None:
    child = process.spawn([sys.executable, "-S", "-c", SLEEPER], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    child.terminate()
    assert child.wait(5) == -signal.SIGTERM
    child.stdout.close()
    assert process.spawn([sys.executable, "-S", "-c", "raise SystemExit(7)"]).wait(5) == 7


@pytest.mark.usefixtures("uses_prctl")
def test_missing_program_raises_in_the_caller() -> None:
    with pytest.raises(FileNotFoundError):
        process.spawn(["no-such-program-anywhere"])


@pytest.mark.usefixtures("uses_prctl")
async def test_output_and_exit_code_of_an_async_child_are_available() -> None:
    child = await process.spawn_async(
        [sys.executable, "-S", "-c", "import os; print(os.environ['GREETING'])"],
        env={"GREETING": "hello"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert await asyncio.wait_for(child.stdout.read(), 5) == b"hello\n"
    assert await child.wait() == 0


def test_watcher_ends_with_its_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LINUX", False)
    child = process.spawn([sys.executable, "-S", "-c", ""])
    pid = child.pid
    child.wait(5)
    del child
    gc.collect()
    wait_until_gone(pid)


async def test_child_spawned_off_the_main_thread_outlives_the_thread() -> None:
    child = await asyncio.to_thread(
        process.spawn, [sys.executable, "-S", "-c", SLEEPER], stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        await asyncio.get_running_loop().shutdown_default_executor()  # ends the thread that forked
        assert child.poll() is None
        child.kill()
    assert child.returncode == -signal.SIGKILL
