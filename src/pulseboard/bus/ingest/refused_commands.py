"""Limits how many refused external commands reach the feed and the audit.

Any program with access to Redis can publish commands. Without a limit, a flood of refused ones
would push the records of other users out of the audit.
"""

import time
from collections import deque

import msgspec

from pulseboard.wire.events.command import Command

RECORDED_MAX, RECORDED_WITHIN_S = 10, 60.0
"""The most refused commands that a server records within this time."""
ARGS_MAX_BYTES = 1_000
"""Larger arguments of a refused command are not recorded."""


class RefusalRecorder:
    """Decides which refused commands to record, and shortens them."""

    def __init__(self) -> None:
        self._recorded_at: deque[float] = deque(maxlen=RECORDED_MAX)
        self._unrecorded = 0

    def record(self, command: Command) -> Command | None:
        """Return a refused command in the form to record, or None when the limit is reached.

        The reason then also gives the number of refused commands before it that were not recorded.
        """
        times, now = self._recorded_at, time.monotonic()
        if len(times) == times.maxlen and now - times[0] < RECORDED_WITHIN_S:
            self._unrecorded += 1
            return None
        times.append(now)
        return self._shorten(command)

    def _shorten(self, command: Command) -> Command:
        reason, args = command.refused, command.args
        if len(bytes(args)) > ARGS_MAX_BYTES:
            reason, args = f"{reason} (args omitted: {len(bytes(args))} bytes)", msgspec.Raw(b"{}")
        if self._unrecorded:
            reason = f"{reason} ({self._unrecorded} refused before it are not recorded)"
            self._unrecorded = 0
        return msgspec.structs.replace(command, refused=reason, args=args)
