"""The heartbeat as a buffer: one is due every heartbeat interval, missed ones are skipped."""

import time

from pulseboard.sdk.loop_watch import LoopWatch


class HeartbeatTimer:
    """Yields the lag of the watched event loops (ms) every `heartbeat_s`, at first at once."""

    def __init__(self, heartbeat_s: float, loops: LoopWatch) -> None:
        self._heartbeat_s = heartbeat_s
        self._loops = loops
        self._next_at = time.monotonic()

    def due(self) -> float:
        """Return when the next heartbeat is due."""
        return self._next_at

    def drain(self) -> int:
        """Return for how many ms the slowest event loop has not answered; 0 below 1,000."""
        return self._loops.measure_lag_ms()

    def confirm(self) -> None:
        """Schedule the next heartbeat; after a delay longer than the interval it is due at once."""
        self._next_at = max(self._next_at + self._heartbeat_s, time.monotonic())

    def reject(self) -> None:
        """Schedule the next heartbeat."""
        self.confirm()
