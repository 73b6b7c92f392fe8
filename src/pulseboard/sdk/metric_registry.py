"""The meter: the instruments of one service by name, and what the courier sends of them. Bounded in names and in bytes."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from pulseboard.sdk.instruments import Counter, Gauge, Histogram, Instrument, Number, Timer
from pulseboard.sdk.status_encoding import text_of
from pulseboard.wire.errors import InvalidName
from pulseboard.wire.events.metric import (
    MAX_METRICS,
    Distribution,
    MetricKind,
    Value,
    check_metric_name,
)

MAX_BYTES = 60_000
"""All of them fit into one event of 64 kB, whatever their values are."""
REPEAT_S = 60.0
"""What has not changed is told again after so long, or a chart would end."""

AnyInstrument = TypeVar("AnyInstrument", bound=Instrument)


class Readings(NamedTuple):
    """What is to be sent: values by name, and which of them are counters."""

    metrics: dict[str, Value]
    kinds: dict[str, MetricKind]


class MetricRegistry:
    """Instruments by name. Any thread asks for them; the courier alone reads them."""

    def __init__(self, complain: Callable[[str, str], None]) -> None:
        self._complain = complain
        self._instruments: dict[str, Instrument] = {}
        self._taken: list[Instrument] = []
        self._told: dict[str, Number] = {}
        self._told_at = float("-inf")

    def get(self, kind: type[AnyInstrument], name: Any) -> AnyInstrument:
        """Return the instrument of this name; one that works and is not sent, where the name cannot be had."""
        found = self._instruments.get(name) if isinstance(name, str) else None
        if found is None:
            if (objection := self._object_to(kind, name)) is not None:
                self._complain("metric", f"{objection}; it is not sent")
                return kind(text_of(name)[:80], self._complain)
            # One step: of two threads that ask at once, both get the same.
            found = self._instruments.setdefault(name, kind(name, self._complain))
        if isinstance(found, kind) and type(found) is kind:
            return found
        what = f"{type(found).__name__.lower()}, and no {kind.__name__.lower()}"
        self._complain("kind-of-metric", f"{name} is a {what} as well: the latter is not sent")
        return kind(name, self._complain)

    def take(self, now_s: float) -> Readings | None:
        """Return what is to be sent; None when there is nothing, or nothing new. It is taken again until it is confirmed."""
        instruments = list(self._instruments.values())
        read = [(each, value) for each in instruments if (value := each.read()) is not None]
        readings = Readings(
            {each.name: value for each, value in read},
            {each.name: each.kind for each, _ in read if each.kind == "counter"},
        )
        self._taken = [each for each, _ in read]
        if not read or (_gist(readings) == self._told and now_s < self._told_at + REPEAT_S):
            return None
        return readings

    def confirm(self, readings: Readings, now_s: float) -> None:
        """Take note that what was taken last has been sent."""
        for each in self._taken:
            each.confirm()
        self._told, self._told_at = _gist(readings), now_s

    def __bool__(self) -> bool:
        """Whether there is any instrument."""
        return bool(self._instruments)

    def renew(self) -> "MetricRegistry":
        """Return one for a forked child: the host's instruments are the same, and begin anew."""
        heir = MetricRegistry(self._complain)
        heir._instruments = self._instruments
        for each in list(self._instruments.values()):
            each.reset()
        return heir

    def _object_to(self, kind: type[Instrument], name: Any) -> str | None:
        """Say why this cannot be the name of one more; None when it can."""
        try:
            check_metric_name(name)
        except InvalidName as error:
            return str(error)
        except TypeError:
            return f"the name of a metric is a text, not {text_of(name)[:80]}"
        if len(self._instruments) >= MAX_METRICS:
            return f"a service has at most {MAX_METRICS} metrics in a process, and {name[:80]} is one more"
        sizes = [_size(type(each), each.name) for each in list(self._instruments.values())]
        if sum(sizes) + _size(kind, name) > MAX_BYTES:
            return f"there are too many metrics with long names, and {name[:80]} is one more"
        return None


def _gist(readings: Readings) -> dict[str, Number]:
    # The least and the greatest are told once: a histogram that took no value since says less, and nothing new.
    values = readings.metrics.items()
    return {
        name: value.count if isinstance(value, Distribution) else value for name, value in values
    }


_MOST = {Counter: 50, Gauge: 32, Histogram: 130, Timer: 130}
"""Bytes of JSON that a value takes at most, with what stands around it."""


def _size(kind: type[Instrument], name: str) -> int:
    told = 2 if kind is Counter else 1  # its kind is told beside its value
    return _MOST[kind] + told * len(msgspec.json.encode(name))
