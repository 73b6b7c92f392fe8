"""Coverage: the periods in which each server received external messages, recorded in Redis.

Pub/sub has no replay, so a message that no server received is lost, and the record shows when that
can have happened. Invariant: a period counts as covered only up to a moment that Redis has proved
(see `Subscription`), and only once all messages received until then are in the feed.
"""

import logging
import math
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import redis.asyncio

from pulseboard.bus.clock import fetch_time
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error
from pulseboard.bus.keys import COVERAGE_TTL_S, Keys

COMPARE_AFTER_S = 3.0
"""Time after which a reopened subscription compares its coverage with that of other servers.

The others record their coverage every second, so by then their records include the gap.
"""
JOIN_MS = 10_000
"""Gaps that are less than this apart are reported as one.

Clients learn only the latest gap, every few seconds.
"""
SPANS_MAX = 256
"""The most spans in Redis, the latest ones.

A connection that breaks all day leaves one span each time.
"""

_SPAN = re.compile(rb"([0-9]{1,16}) ([0-9]{1,16})")

log = logging.getLogger("pulseboard.ingest")


class CoverageGap(NamedTuple):
    """A period in which no server is known to have received external messages.

    Times are in ms by Redis' clock; `until` None: the gap continues.
    """

    since: int
    until: int | None


class CoverageSpan(NamedTuple):
    """A period, in ms by Redis' clock, in which one subscription received all messages."""

    subscription: str
    since: int
    until: int

    @property
    def is_proved(self) -> bool:
        """Whether Redis has proved any part of the period."""
        return self.until > self.since


def latest_gap(spans: Iterable[CoverageSpan]) -> CoverageGap | None:
    """Return the last gap between spans, joined with gaps that end shortly before it."""
    gap: CoverageGap | None = None
    covered_until: int | None = None
    for span in sorted(spans, key=lambda span: span.since):
        if covered_until is not None and span.since > covered_until:
            gap = CoverageGap(_join(gap, covered_until), span.since)
        covered_until = span.until if covered_until is None else max(covered_until, span.until)
    return gap


def _join(previous: CoverageGap | None, since: int) -> int:
    """Return the start of a gap that begins at `since`, or of the previous gap if close."""
    if previous is None:
        return since
    return previous.since if previous.until is None or since - previous.until < JOIN_MS else since


class SubscriptionCoverage:
    """The coverage of this server, compared with that of the others.

    `on_gap` is called when the gap changes.
    """

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, on_gap: Callable[[CoverageGap | None], None]
    ) -> None:
        self._client = client
        self._keys = keys
        self._on_gap = on_gap
        # Bounds of the difference between Redis' clock and the monotonic clock. Redis read its
        # clock at some moment while this server waited for the answer.
        self._least_offset_ms = self._most_offset_ms = 0.0
        self._span: CoverageSpan | None = None
        self._previous_span: CoverageSpan | None = None
        self._compare_at: float | None = None
        self._failing = False
        self.gap: CoverageGap | None = None
        """The latest period, possibly continuing, with external messages possibly missed."""

    @property
    def is_compared(self) -> bool:
        """Whether the gap accounts for the coverage of other servers."""
        return self._compare_at is None

    async def read_time(self) -> int:
        """Fetch the time of Redis in ms, and update the difference between the clocks."""
        asked_at = time.monotonic()
        ms = await fetch_time(self._client, self._keys)
        self._least_offset_ms = ms - time.monotonic() * 1000
        self._most_offset_ms = ms + 1 - asked_at * 1000
        return ms

    def open(self, asked_at: float) -> None:
        """Record that the subscription receives messages.

        Its coverage is proved from the request on.
        """
        now = self._latest_ms(time.monotonic())
        if self._previous_span is not None:
            since = min(_join(self.gap, self._previous_span.until), now)
            self._set_gap(CoverageGap(since, now))
        self._span = CoverageSpan(uuid.uuid4().hex[:16], now, self._earliest_ms(asked_at))
        self._compare_at = time.monotonic() + COMPARE_AFTER_S

    def prove(self, at: float) -> CoverageSpan | None:
        """Record that all messages up to `at` (`time.monotonic()`) arrived.

        Return the span to `write`.
        """
        if self._span is not None:
            until = max(self._span.until, self._earliest_ms(at))
            self._span = self._span._replace(until=until)
        return self._span

    def lose(self) -> None:
        """Record that the subscription is lost.

        The gap begins at the last proof, because the real time is unknown.
        """
        if self._span is not None:
            if self._previous_span is None or self._span.is_proved:
                self._previous_span = self._span
            self._span = self._compare_at = None
            self._set_gap(CoverageGap(_join(self.gap, self._previous_span.until), None))

    async def write(self, span: CoverageSpan) -> None:
        """Write a span to Redis once its messages are in the feed.

        When it is time, compare with other servers.
        """
        try:
            value = f"{span.since} {span.until}"
            await self._client.hset(self._keys.coverage, span.subscription, value)
            await self._client.expire(self._keys.coverage, COVERAGE_TTL_S)
            await self.read_time()  # Again, because two clocks never run at the same rate.
            if self._compare_at is not None and time.monotonic() >= self._compare_at:
                await self._compare()
        except REDIS_ERRORS as error:  # The next proof follows within a second.
            log.log(
                logging.DEBUG if self._failing else logging.WARNING,
                "cannot record the coverage of external messages: %s",
                describe_error(error),
            )
            self._failing = True
        else:
            self._failing = False

    async def _compare(self) -> None:
        """Find the latest gap in the coverage of all servers.

        Another server may have received messages that this one missed, and other servers ran before
        this one.
        """
        values: Any = await self._client.hgetall(self._keys.coverage)
        spans = [
            CoverageSpan(name.decode("ascii", "replace"), *map(int, match.groups()))
            for name, value in values.items()
            if (match := _SPAN.fullmatch(value))
        ]
        spans.sort(key=lambda span: span.until, reverse=True)
        oldest = self._latest_ms(time.monotonic()) - COVERAGE_TTL_S * 1000
        kept = [span for span in spans[:SPANS_MAX] if span.until >= oldest]
        if stale := [span.subscription for span in spans if span not in kept]:
            await self._client.hdel(self._keys.coverage, *stale)
        if self._span is None:
            return  # The subscription was lost meanwhile, and the gap that `lose` set is right.
        own = [self._previous_span] if self._previous_span is not None else []
        self._compare_at = None
        current = self._span._replace(until=self._latest_ms(time.monotonic()))
        self._set_gap(latest_gap([*kept, *own, current]))

    def _earliest_ms(self, at: float) -> int:
        """Convert a `time.monotonic()` to Redis' clock in ms.

        The result is never later than the moment.
        """
        return int(at * 1000 + self._least_offset_ms)

    def _latest_ms(self, at: float) -> int:
        """Convert a `time.monotonic()` to Redis' clock in ms.

        The result is never earlier than the moment.
        """
        return math.ceil(at * 1000 + self._most_offset_ms)

    def _set_gap(self, gap: CoverageGap | None) -> None:
        if gap != self.gap:
            self.gap = gap
            self._on_gap(gap)
