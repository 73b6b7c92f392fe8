"""Rejected messages: count each by its reason, and log each reason at most once a minute."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pulseboard.wire.errors import InvalidEvent, Reason

QUIET_S = 60.0
"""Time between two warnings with the same reason."""

S = TypeVar("S")
T = TypeVar("T")

log = logging.getLogger("pulseboard.rejections")


class Rejections:
    """The number of dropped messages by reason, and a rate-limited warning for each reason."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Reason] = Counter()
        self._clock = clock
        self._warned: dict[Reason, tuple[float, int]] = {}

    def add(self, error: InvalidEvent, source: str) -> None:
        """Count one dropped message. The warning shows its `source`, escaped and shortened."""
        reason = error.reason
        self.counts[reason] += 1
        warned_at, warned_count = self._warned.get(reason, (float("-inf"), 0))
        if self._clock() - warned_at < QUIET_S:
            return
        self._warned[reason] = (self._clock(), self.counts[reason])
        unreported = self.counts[reason] - warned_count - 1
        note = f" ({unreported} more since the last such line)" if unreported else ""
        log.warning(
            "dropped a message from %s, %s: %s%s",
            ascii(source[:80]),
            reason,
            _printable(str(error)[:200]),
            note,
        )

    def sift(
        self, items: Iterable[S], parse: Callable[[S], T], source: Callable[[S], str]
    ) -> Iterator[T]:
        """Yield the result of `parse` for each item.

        Drop and count items for which it raises InvalidEvent.
        """
        for item in items:
            try:
                parsed = parse(item)
            except InvalidEvent as error:
                self.add(error, source(item))
            else:
                yield parsed


def _printable(text: str) -> str:
    # A message from another program must not add lines to the log, nor colour a terminal.
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
