"""The ears: from when to when each server heard plain publishes, noted in Redis so that all can tell when nobody did.

Pub/sub has no replay, so what nobody heard is lost. Invariant: a span is called heard only up to a moment for which
Redis has proved it (`Subscription`), and only once all that was heard until then is in the feed.
"""

import logging
import math
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import redis.asyncio

from pulseboard.bus.clock import look
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error
from pulseboard.bus.keys import COVERAGE_TTL_S, Keys

SETTLE_S = 3.0
"""So long after it hears again a server waits until the others, too, have noted up to when they heard: they do each second."""
JOIN_MS = 10_000
"""Times in which nobody heard that are no further apart are told as one: readers are told the latest alone, every few seconds."""
SPANS_MAX = 256
"""So many spans are kept, the latest; a link that breaks all day leaves one each time."""

_SPAN = re.compile(rb"([0-9]{1,16}) ([0-9]{1,16})")

log = logging.getLogger("pulseboard.ingest")


class CoverageGap(NamedTuple):
    """From when to when (ms by Redis' clock; None: it goes on) no plain publish was heard, as far as is known here."""

    since: int
    until: int | None


class Span(NamedTuple):
    """From when to when (ms by Redis' clock) one subscription heard all that was published."""

    ear: str
    since: int
    until: int

    @property
    def is_proved(self) -> bool:
        """Whether there is a moment of which it is known that it was heard."""
        return self.until > self.since


def latest_gap(spans: Iterable[Span]) -> CoverageGap | None:
    """Return the last time between the first and the last of some spans that is in none of them, joined with those before it."""
    gap: CoverageGap | None = None
    observed_until: int | None = None
    for span in sorted(spans, key=lambda span: span.since):
        if observed_until is not None and span.since > observed_until:
            gap = CoverageGap(_join(gap, observed_until), span.since)
        observed_until = span.until if observed_until is None else max(observed_until, span.until)
    return gap


def _join(before: CoverageGap | None, since: int) -> int:
    """Return since when nobody heard, if that goes on from or comes soon after what was before."""
    if before is None:
        return since
    return before.since if before.until is None or since - before.until < JOIN_MS else since


class SubscriptionCoverage:
    """What this server knows of its own hearing, and learns of that of the others. `tell` is called when that changes."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, tell: Callable[[CoverageGap | None], None]
    ) -> None:
        self._client = client
        self._keys = keys
        self._key = keys.coverage
        # What to add to ours for Redis' time, which was read at some moment while we waited for it: never less, never more.
        self._least_ms = self._most_ms = 0.0
        self._tell = tell
        self._span: Span | None = None
        self._before: Span | None = None
        self._settle_at: float | None = None
        self._failing = False
        self.gap: CoverageGap | None = None
        """The latest span, or the one that goes on, in which plain publishes may have been missed."""

    async def read_time(self) -> int:
        """Ask Redis what time it is; return that in ms."""
        asked_at = time.monotonic()
        ms = await look(self._client, self._keys)
        self._least_ms, self._most_ms = ms - time.monotonic() * 1000, ms + 1 - asked_at * 1000
        return ms

    def open(self, asked_at: float) -> None:
        """Note that the subscription hears from here on; proved is that only from when it was asked for."""
        now = self._at_most(time.monotonic())
        if self._before is not None:
            self._set(CoverageGap(min(_join(self.gap, self._before.until), now), now))
        self._span = Span(uuid.uuid4().hex[:16], now, self._at_least(asked_at))
        self._settle_at = time.monotonic() + SETTLE_S

    def prove(self, at: float) -> Span | None:
        """Note that all was heard up to a moment (`time.monotonic()`); return what is then to be noted by `write`."""
        if self._span is not None:
            self._span = self._span._replace(until=max(self._span.until, self._at_least(at)))
        return self._span

    def lose(self) -> None:
        """Note that the subscription is lost, since when nobody can say: the last proof is what is known."""
        if self._span is not None:
            if self._before is None or self._span.is_proved:
                self._before = self._span
            self._span = self._settle_at = None
            self._set(CoverageGap(_join(self.gap, self._before.until), None))

    async def write(self, span: Span) -> None:
        """Note in Redis what was heard and is in the feed, for others; and look now and then what they have noted."""
        try:
            await self._client.hset(self._key, span.ear, f"{span.since} {span.until}")
            await self._client.expire(self._key, COVERAGE_TTL_S)
            await self.read_time()  # again, for no two clocks run alike
            if self._settle_at is not None and time.monotonic() >= self._settle_at:
                await self._settle()
        except REDIS_ERRORS as error:  # the next proof comes in a second
            log.log(
                logging.DEBUG if self._failing else logging.WARNING,
                "cannot note up to when plain publishes were heard: %s",
                describe_error(error),
            )
            self._failing = True
        else:
            self._failing = False

    async def _settle(self) -> None:
        """Find what nobody heard: another server may have, where this one did not; and before this one there were others."""
        noted: Any = await self._client.hgetall(self._key)
        spans = [
            Span(ear.decode("ascii", "replace"), *map(int, match.groups()))
            for ear, text in noted.items()
            if (match := _SPAN.fullmatch(text))
        ]
        spans.sort(key=lambda span: span.until, reverse=True)
        oldest = self._at_most(time.monotonic()) - COVERAGE_TTL_S * 1000
        kept = [span for span in spans[:SPANS_MAX] if span.until >= oldest]
        if stale := [span.ear for span in spans if span not in kept]:
            await self._client.hdel(self._key, *stale)
        if self._span is None:
            return  # lost again meanwhile: what is told of that holds
        own = [self._before] if self._before is not None else []
        self._settle_at = None
        self._set(
            latest_gap([*kept, *own, self._span._replace(until=self._at_most(time.monotonic()))])
        )

    def _at_least(self, at: float) -> int:
        """Return a moment of `time.monotonic()` by Redis' clock (ms), not later than it was."""
        return int(at * 1000 + self._least_ms)

    def _at_most(self, at: float) -> int:
        """Return a moment of `time.monotonic()` by Redis' clock (ms), not earlier than it was."""
        return math.ceil(at * 1000 + self._most_ms)

    def _set(self, gap: CoverageGap | None) -> None:
        if gap != self.gap:
            self.gap = gap
            self._tell(gap)
