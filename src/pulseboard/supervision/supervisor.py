"""A group of supervised children: all run until a signal, and then all are stopped.

Invariant: the crash of a child affects no other child. The end of the supervisor, even by
`kill -9`, ends all children.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence

from pulseboard.supervision.child import REFUSED, Child, Console

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_supervised(
    children: Sequence[Child],
    console: Console,
    stop: asyncio.Event,
    *,
    name: str,
    grace_s: float,
    first: Sequence[Child] = (),
) -> int:
    """Run all until SIGINT, SIGTERM, SIGHUP or `stop`; then stop `first`, then the others.

    A child that has not ended `grace_s` after SIGTERM is killed. Returns the exit code: 0, or 2 if
    a child rejected its options, because a restart would not help. Call it from the main thread:
    signal handlers and the binding of children to this process require it.
    """
    with _signals_set(stop, children):
        running = {asyncio.create_task(child.run_until_stopped()): child for child in children}
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopped, *running), return_when=asyncio.FIRST_COMPLETED)
            for refused in (child.spec.name for child in children if child.refused):
                console.print(name, f"{refused} rejected its options, so all processes stop")
            console.print(name, "stopping")
            await _end(
                running, [task for task, child in running.items() if child in first], grace_s
            )
            await _end(running, list(running), grace_s)
        finally:
            stopped.cancel()
            for task, child in running.items():
                child.kill()
                task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return REFUSED if any(child.refused for child in children) and not stop.is_set() else 0


async def _end(
    running: Mapping[asyncio.Task[None], Child], tasks: Sequence[asyncio.Task[None]], grace_s: float
) -> None:
    if not tasks:
        return
    for task in tasks:
        running[task].terminate()
    _, left = await asyncio.wait(tasks, timeout=grace_s)
    for task in left:
        running[task].kill()
    if left:
        await asyncio.wait(left, timeout=grace_s)


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event, children: Sequence[Child]) -> Iterator[None]:
    """Let signals stop the children; a signal during the stop kills the remaining ones."""

    def handle() -> None:
        if stop.is_set():
            for child in children:
                child.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    # An ignored signal stays ignored: nohup(1) works in this way.
    numbers = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
