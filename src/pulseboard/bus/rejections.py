"""Bad input: each message dropped is counted by its reason, and told at most once a minute a reason."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pulseboard.wire.errors import InvalidEvent, Reason

QUIET_S = 60.0

S = TypeVar("S")
T = TypeVar("T")

log = logging.getLogger("pulseboard.rejections")


class Rejections:
    """Counts of what was dropped, by reason, and the one rate-limited warning for each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Reason] = Counter()
        self._clock = clock
        self._told: dict[Reason, tuple[float, int]] = {}

    def add(self, error: InvalidEvent, source: str) -> None:
        """Count one message that was dropped; `source` says where it came from and is shown escaped and cut."""
        reason = error.reason
        self.counts[reason] += 1
        told_at, told_count = self._told.get(reason, (float("-inf"), 0))
        if self._clock() - told_at < QUIET_S:
            return
        self._told[reason] = (self._clock(), self.counts[reason])
        more = self.counts[reason] - told_count - 1
        since = f" ({more} more since the last such line)" if more else ""
        log.warning(
            "dropped a message from %s, %s: %s%s",
            ascii(source[:80]),
            reason,
            _printable(str(error)[:200]),
            since,
        )

    def sift(
        self, items: Iterable[S], parse: Callable[[S], T], source: Callable[[S], str]
    ) -> Iterator[T]:
        """Yield each item read by `parse`; one for which that raises InvalidEvent is dropped and counted."""
        for item in items:
            try:
                parsed = parse(item)
            except InvalidEvent as error:
                self.add(error, source(item))
            else:
                yield parsed


def _printable(text: str) -> str:
    # What others sent must not write lines of its own into the log, nor colour a terminal.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
