"""Event loops being watched: how long one has not answered tells a stuck host from a dead one.

The loop itself is asked, by a probe that it has to run; at most one probe a loop is on its way. No loop is kept alive.
"""

import asyncio
import time
import weakref
from collections.abc import Callable

STUCK_MS = 1_000
"""What is told: below it a loop is busy, not stuck."""
GRACE_S = 0.1
"""How long a loop may take to answer once more before it is called stuck: a process that was suspended as a whole, or a
machine that slept, wakes with its probes unanswered."""


class _Probe:
    """A question to one loop. The courier's thread asks it, the loop's answers it; neither changes what the other does."""

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.answered = False

    def answer(self) -> None:
        self.answered = True


class _Watched:
    """One loop, and the latest question to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.probe: _Probe | None = None


class LoopWatch:
    """The loops of one service. Loops are added from any thread, and asked by the courier's."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._watched: list[_Watched] = []
        self._clock = clock
        self._sleep = sleep

    def add(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a loop until it is closed or gone; to add it twice is to add it once."""
        # No lock, only single steps of C: the courier must not wait for a thread that a signal handler interrupted.
        if all(watched.loop() is not loop for watched in self._watched.copy()):
            self._watched.append(_Watched(loop))

    def __len__(self) -> int:
        return len(self._watched)

    def running(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop that was added first of those that run; None when none does."""
        loops = (watched.loop() for watched in self._watched.copy())
        return next((loop for loop in loops if loop is not None and loop.is_running()), None)

    def ask(self) -> int:
        """Ask each loop that owes no answer, and return for how many ms the oldest question has stood; 0 below 1,000."""
        for gone in [watched for watched in self._watched.copy() if not self._reach(watched)]:
            self._watched.remove(gone)
        if self._owed_ms() < STUCK_MS:
            return 0
        self._sleep(GRACE_S)
        owed_ms = self._owed_ms()
        return owed_ms if owed_ms >= STUCK_MS else 0

    def _reach(self, watched: _Watched) -> bool:
        try:
            return self._ask(watched)
        # One that was closed since we looked; and a loop of the host's own making may raise anything at all.
        except Exception:  # noqa: BLE001
            return False

    def _ask(self, watched: _Watched) -> bool:
        loop = watched.loop()
        if loop is None or loop.is_closed():
            return False
        if watched.probe is None or watched.probe.answered:
            probe = _Probe(self._clock())
            loop.call_soon_threadsafe(probe.answer)
            watched.probe = probe
        elif not loop.is_running():
            # Between two runs a loop owes nothing; the answer comes with the next run.
            watched.probe.asked_at = self._clock()
        return True

    def _owed_ms(self) -> int:
        open_probes = [
            one.probe
            for one in self._watched.copy()
            if one.probe is not None and not one.probe.answered
        ]
        return (
            round((self._clock() - min(probe.asked_at for probe in open_probes)) * 1000)
            if open_probes
            else 0
        )
