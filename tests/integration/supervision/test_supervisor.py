"""A supervisor of several children: the order in which they stop, and signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

import pytest
from tests.support.children import QUICK, Output, program

from pulseboard.supervision.child import Child, ChildSpec, Console
from pulseboard.supervision.supervisor import _signals_set, run_supervised

STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('up', os.getpid()); time.sleep(60)"
)
SLOW = (
    "import signal, sys, time;"
    "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print('bye'), sys.exit()));"
    "print('up', flush=True); time.sleep(60)"
)


def make_children(out: Output, **codes: str) -> list[Child]:
    console = Console(out, max(map(len, codes)))
    return [
        Child(ChildSpec(name, program(code)), os.environ, console, QUICK)
        for name, code in codes.items()
    ]


def start_supervisor(
    children: Sequence[Child],
    out: Output,
    stop: asyncio.Event,
    grace_s: float = 5,
    first: Sequence[Child] = (),
) -> asyncio.Task[int]:
    return asyncio.create_task(
        run_supervised(
            children, Console(out, 5), stop, name="supervisor", grace_s=grace_s, first=first
        ),
        name="supervise children",
    )


async def test_child_that_ignores_sigterm_is_killed() -> None:
    out, stop = Output(), asyncio.Event()
    supervisor = start_supervisor(make_children(out, stubborn=STUBBORN), out, stop, grace_s=0.3)
    await out.until("stubborn", "up")
    pid = int(out.lines("stubborn")[0].split()[1])
    stop.set()
    assert await asyncio.wait_for(supervisor, 5) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_first_children_have_ended_before_the_others_are_terminated() -> None:
    out, stop = Output(), asyncio.Event()
    first, second = make_children(out, first=SLOW, second=SLOW)
    supervisor = start_supervisor([second, first], out, stop, first=[first])
    await out.until("first", "up")
    await out.until("second", "up")
    stop.set()
    assert await asyncio.wait_for(supervisor, 10) == 0
    order = [
        row.split(" | ")[0].strip() for row in out.getvalue().splitlines() if row.endswith("| bye")
    ]
    assert order == ["first", "second"]


async def test_child_that_rejects_its_options_stops_all_children() -> None:
    out = Output()
    supervisor = start_supervisor(
        make_children(out, steady=SLOW, wrong="raise SystemExit(2)"), out, asyncio.Event()
    )
    assert await asyncio.wait_for(supervisor, 10) == 2
    assert "wrong rejected its options, so all processes stop" in out.lines("supervisor")


async def test_second_signal_kills_the_remaining_children() -> None:
    out = Output()
    supervisor = start_supervisor(
        make_children(out, stubborn=STUBBORN), out, asyncio.Event(), grace_s=60
    )
    await out.until("stubborn", "up")
    os.kill(os.getpid(), signal.SIGTERM)
    await out.until("supervisor", "stopping")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(supervisor, 5) == 0


async def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup(1) does
    try:
        with _signals_set(asyncio.Event(), []):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
