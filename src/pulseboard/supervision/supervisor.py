"""A staff of children: kept running until a signal, and then all ended.

Invariant: a child's crash is that child's alone; the supervisor's end, even by `kill -9`, is the end of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence

from pulseboard.supervision.child import REFUSED, Child, Console

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def keep_staff(
    staff: Sequence[Child],
    console: Console,
    stop: asyncio.Event,
    *,
    name: str,
    grace_s: float,
    first: Sequence[Child] = (),
) -> int:
    """Keep all running until SIGINT, SIGTERM, SIGHUP or `stop`; then end those in `first`, then the others.

    Who has not ended `grace_s` after it was asked is killed. Returns the exit code: 0, or 2 when a child refused its options
    (exit code 2), which no restart would mend. Call it from the main thread: signals, and the tie to the children, need it.
    """
    with _signals_set(stop, staff):
        keeping = {asyncio.create_task(child.keep_running()): child for child in staff}
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopped, *keeping), return_when=asyncio.FIRST_COMPLETED)
            for refused in (child.spec.name for child in staff if child.refused):
                console.say(name, f"{refused} refused to start, so all stop")
            console.say(name, "stopping")
            await _end(
                keeping, [task for task, child in keeping.items() if child in first], grace_s
            )
            await _end(keeping, list(keeping), grace_s)
        finally:
            stopped.cancel()
            for task, child in keeping.items():
                child.kill()
                task.cancel()
        for task in keeping:
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return REFUSED if any(child.refused for child in staff) and not stop.is_set() else 0


async def _end(
    keeping: Mapping[asyncio.Task[None], Child], tasks: Sequence[asyncio.Task[None]], grace_s: float
) -> None:
    if not tasks:
        return
    for task in tasks:
        keeping[task].terminate()
    _, left = await asyncio.wait(tasks, timeout=grace_s)
    for task in left:
        keeping[task].kill()
    if left:
        await asyncio.wait(left, timeout=grace_s)


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event, staff: Sequence[Child]) -> Iterator[None]:
    """Let signals stop the staff; one that comes while it stops already kills who is left."""

    def note() -> None:
        if stop.is_set():
            for child in staff:
                child.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    # One that is ignored stays so: that is how nohup(1) asks for it.
    numbers = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, note)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
