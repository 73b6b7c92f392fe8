"""Watches event loops, so that the board can tell a stuck process from a dead one.

The watch sends a probe, which the loop itself must run; at most one probe is pending in each loop.
The watch keeps no loop alive.
"""

import asyncio
import time
import weakref
from collections.abc import Callable

STUCK_MS = 1_000
"""A loop that has not answered for less than this is busy, not stuck, and is not reported."""
GRACE_S = 0.1
"""How long a loop may take to answer before it is reported as stuck.

After a process was suspended, or its machine slept, all probes are unanswered for a moment.
"""


class _Probe:
    """A question to one loop. The sender writes `sent_at`, the thread of the loop `answered`."""

    def __init__(self, sent_at: float) -> None:
        self.sent_at = sent_at
        self.answered = False

    def answer(self) -> None:
        self.answered = True


class _Watched:
    """A loop and the latest probe in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)
        self.probe: _Probe | None = None


class LoopWatch:
    """The event loops of one service: any thread adds them, the sender's thread probes them."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._watched: list[_Watched] = []
        self._clock = clock
        self._sleep = sleep

    def add(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a loop until it is closed or garbage-collected. Adding it twice has no effect."""
        # No lock, only single C calls: the sender must not wait for a thread that a signal handler
        # interrupted.
        if all(watched.loop() is not loop for watched in self._watched.copy()):
            self._watched.append(_Watched(loop))

    def __len__(self) -> int:
        return len(self._watched)

    def running(self) -> asyncio.AbstractEventLoop | None:
        """Return the running loop that was added first; None if none runs."""
        loops = (watched.loop() for watched in self._watched.copy())
        return next((loop for loop in loops if loop is not None and loop.is_running()), None)

    def measure_lag_ms(self) -> int:
        """Send probes, and return for how many ms the oldest is unanswered; 0 below 1,000."""
        for gone in [each for each in self._watched.copy() if not self._try_probe(each)]:
            self._watched.remove(gone)
        if self._oldest_probe_ms() < STUCK_MS:
            return 0
        self._sleep(GRACE_S)
        lag_ms = self._oldest_probe_ms()
        return lag_ms if lag_ms >= STUCK_MS else 0

    def _try_probe(self, watched: _Watched) -> bool:
        """Probe a loop; return False if it is gone."""
        try:
            return self._probe(watched)
        # The loop may be closed by another thread at this moment, and a loop of the host
        # application's own making may raise any exception.
        except Exception:  # noqa: BLE001
            return False

    def _probe(self, watched: _Watched) -> bool:
        loop = watched.loop()
        if loop is None or loop.is_closed():
            return False
        if watched.probe is None or watched.probe.answered:
            probe = _Probe(self._clock())
            loop.call_soon_threadsafe(probe.answer)
            watched.probe = probe
        elif not loop.is_running():
            # Between two runs a loop answers nothing; it answers in its next run.
            watched.probe.sent_at = self._clock()
        return True

    def _oldest_probe_ms(self) -> int:
        pending = [
            each.probe
            for each in self._watched.copy()
            if each.probe is not None and not each.probe.answered
        ]
        if not pending:
            return 0
        return round((self._clock() - min(probe.sent_at for probe in pending)) * 1000)
