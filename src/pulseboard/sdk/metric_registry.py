"""The metric registry: the instruments of one service, and the buffer of their readings.

It is bounded in the number of names and in bytes.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from pulseboard.sdk.buffer import NEVER
from pulseboard.sdk.instruments import Counter, Gauge, Histogram, Instrument, Number
from pulseboard.sdk.status_encoding import text_of
from pulseboard.sdk.timer import Timer
from pulseboard.wire.errors import InvalidName
from pulseboard.wire.events.metric import (
    MAX_METRICS,
    Distribution,
    MetricKind,
    Value,
    check_metric_name,
)

MAX_BYTES = 60_000
"""All metrics together fit into one event of 64 kB, for any values."""
REPEAT_S = 60.0
"""Unchanged values are sent again after this time; otherwise a chart would end."""

AnyInstrument = TypeVar("AnyInstrument", bound=Instrument)


class Readings(NamedTuple):
    """The values to be sent, by name, and which of them are counters."""

    metrics: dict[str, Value]
    kinds: dict[str, MetricKind]


class MetricRegistry:
    """Instruments by name. Any thread gets them; the sender alone drains their readings.

    Readings do not queue: after an outage the next ones contain the exact totals, and the extremes
    of the whole time.
    """

    def __init__(
        self,
        warn: Callable[[str, str], None],
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warn = warn
        self._every_s = every_s
        self._clock = clock
        self._next_at = 0.0
        self._instruments: dict[str, Instrument] = {}
        self._read: list[Instrument] = []
        self._drained_at = 0.0
        self._drained: dict[str, Number] = {}
        self._sent: dict[str, Number] = {}
        self._sent_at = float("-inf")

    def get(self, kind: type[AnyInstrument], name: Any) -> AnyInstrument:
        """Return the instrument of this name.

        If the name is invalid, or used by another kind, return one that works and is not sent.
        """
        found = self._instruments.get(name) if isinstance(name, str) else None
        if found is None:
            if (problem := self._find_problem(kind, name)) is not None:
                self._warn("metric", f"{problem}; this metric is not sent")
                return kind(text_of(name)[:80], self._warn)
            # One step: two threads that ask at the same time get the same instrument.
            found = self._instruments.setdefault(name, kind(name, self._warn))
        if isinstance(found, kind) and type(found) is kind:
            return found
        first, second = type(found).__name__.lower(), kind.__name__.lower()
        self._warn(
            "kind-of-metric",
            f"metric {name} is a {first}, and the {second} of the same name is not sent;"
            " give one of them another name",
        )
        return kind(name, self._warn)

    def begin_run(self) -> None:
        """Make the readings due at once."""
        self._next_at = 0.0

    def due(self) -> float:
        """Return when the next readings are due: at once, and then every `every_s`."""
        return self._next_at if self._instruments else NEVER

    def drain(self) -> Readings | None:
        """Read the instruments; return None if nothing changed within the last 60 seconds."""
        self._drained_at = self._clock()
        instruments = list(self._instruments.values())
        read = [(each, value) for each in instruments if (value := each.read()) is not None]
        self._read = [each for each, _ in read]
        readings = Readings(
            {each.name: value for each, value in read},
            {each.name: each.kind for each, _ in read if each.kind == "counter"},
        )
        self._drained = _summarize(readings)
        is_fresh = self._drained_at < self._sent_at + REPEAT_S
        if not read or (self._drained == self._sent and is_fresh):
            self._schedule()
            return None
        return readings

    def confirm(self) -> None:
        """Record that the readings of the last `drain` were sent."""
        for each in self._read:
            each.confirm()
        self._sent, self._sent_at = self._drained, self._drained_at
        self._schedule()

    def reject(self) -> None:
        """Give up the readings; the next ones contain the same totals and extremes."""
        self._schedule()

    def __bool__(self) -> bool:
        """Return whether there is any instrument."""
        return bool(self._instruments)

    def for_forked_child(self) -> "MetricRegistry":
        """Return a registry of the same instruments, all reset."""
        registry = MetricRegistry(self._warn, self._every_s, self._clock)
        registry._instruments = self._instruments
        for each in list(self._instruments.values()):
            each.reset()
        return registry

    def _schedule(self) -> None:
        self._next_at = self._drained_at + self._every_s

    def _find_problem(self, kind: type[Instrument], name: Any) -> str | None:
        """Return why this cannot be the name of a further metric; None if it can."""
        try:
            check_metric_name(name)
        except InvalidName as error:
            return str(error)
        except TypeError:
            return f"the name of a metric must be a string, not {text_of(name)[:80]}"
        if len(self._instruments) >= MAX_METRICS:
            limit = f"the limit of {MAX_METRICS} metrics of a service in a process"
            return f"{name[:80]} exceeds {limit}"
        sizes = [_size(type(each), each.name) for each in list(self._instruments.values())]
        if sum(sizes) + _size(kind, name) > MAX_BYTES:
            limit = f"the limit of {MAX_BYTES} bytes for the metrics of a process"
            return f"{name[:80]} exceeds {limit}; use shorter names or fewer labels"
        return None


def _summarize(readings: Readings) -> dict[str, Number]:
    # Of a histogram the count is enough: least and greatest are sent once, and without a new value
    # they are missing from the next readings although nothing happened.
    values = readings.metrics.items()
    return {
        name: value.count if isinstance(value, Distribution) else value for name, value in values
    }


_VALUE_BYTES = {Counter: 50, Gauge: 32, Histogram: 130, Timer: 130}
"""Bytes of JSON that one value takes at most, with the syntax around it."""


def _size(kind: type[Instrument], name: str) -> int:
    names = 2 if kind is Counter else 1  # a counter is also named in `kinds`
    return _VALUE_BYTES[kind] + names * len(msgspec.json.encode(name))
