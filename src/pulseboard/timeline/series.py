"""Series: the values of one metric of one instance, reduced to the points of a chart.

A gauge is shown as its value, a counter as its growth per second, a histogram as the distribution
of its values.

Invariant: the extremes of the input are among the points, so a short peak stays visible.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from pulseboard.bus.history.reader import Sample
from pulseboard.wire.events.metric import Distribution, MetricKind

Point = tuple[int, float, float, float]
"""The start of an interval in ms, and the minimum, maximum and mean of its values."""


class Step(NamedTuple):
    """One sample as a chart needs it: its extremes, and its mean with a relative weight."""

    at_ms: int
    minimum: float
    maximum: float
    mean: float
    weight: float


def draw_points(steps: Iterable[Step], start_ms: int, end_ms: int, points: int) -> list[Point]:
    """Return at most `points` points of ordered steps, for intervals of equal length.

    An empty interval has no point.
    """
    duration_ms = end_ms - start_ms + 1
    points = min(points, duration_ms)  # an interval is at least 1 ms long
    intervals: dict[int, list[Step]] = {}
    for step in steps:
        if start_ms <= step.at_ms <= end_ms:
            number = (step.at_ms - start_ms) * points // duration_ms
            intervals.setdefault(number, []).append(step)
    # The start of an interval is rounded up, to the first millisecond that belongs to it.
    return [
        (start_ms - (-number * duration_ms // points), *_summarize(members))
        for number, members in intervals.items()
    ]


def read_steps(kind: MetricKind, samples: Iterable[Sample]) -> Iterator[Step]:
    """Return the steps of one instance's samples, which are ordered and of one kind."""
    if kind == "counter":
        return _read_rates(samples)
    if kind == "histogram":
        return _read_distributions(samples)
    values = ((sample.at_ms, sample.value) for sample in samples)
    return (
        Step(at_ms, value, value, value, 1.0)
        for at_ms, value in values
        if not isinstance(value, Distribution)
    )


def _read_rates(samples: Iterable[Sample]) -> Iterator[Step]:
    # Of several totals with the same time, the last one includes the others.
    totals = {
        sample.at_ms: sample.value
        for sample in samples
        if not isinstance(sample.value, Distribution)
    }
    for (previous_ms, previous), (at_ms, total) in pairwise(totals.items()):
        seconds = (at_ms - previous_ms) / 1000
        # A total that decreased comes from a counter that restarted at 0.
        rate = (total - previous if total >= previous else total) / seconds
        yield Step(at_ms, rate, rate, rate, seconds)


def _read_distributions(samples: Iterable[Sample]) -> Iterator[Step]:
    previous: Distribution | None = None
    for sample in samples:
        value = sample.value
        if not isinstance(value, Distribution):
            continue
        count, total = value.count, value.sum
        if previous is not None and count >= previous.count:
            count, total = count - previous.count, total - previous.sum
        if count:
            mean = total / count
            minimum = mean if value.min is None else value.min
            maximum = mean if value.max is None else value.max
            # The extremes cover the time since the previous sample. How many values the first
            # sample got in that time is not known, so it counts as one.
            weight = 1.0 if previous is None else float(count)
            yield Step(sample.at_ms, minimum, maximum, min(max(mean, minimum), maximum), weight)
        previous = value


def _summarize(steps: list[Step]) -> tuple[float, float, float]:
    minimum, maximum = min(step.minimum for step in steps), max(step.maximum for step in steps)
    total_weight = sum(step.weight for step in steps)
    mean = sum(step.mean * (step.weight / total_weight) for step in steps)
    # Rounding must not move the mean beyond the extremes.
    return minimum, maximum, min(max(mean, minimum), maximum)
