"""Series: the values of one metric of one instance as so many points as a chart can show. A peak never vanishes.

A gauge is shown as it is, a counter as its growth per second, a histogram as the values that came.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from pulseboard.bus.history.reader import Sample
from pulseboard.wire.events.metric import Distribution, Kind

Point = tuple[int, float, float, float]
"""The beginning of a stretch of time (ms), and the least, the greatest and the mean of what was measured in it."""


class Step(NamedTuple):
    """What one sample tells: the extremes, and the mean with the weight that it has among others."""

    at_ms: int
    least: float
    greatest: float
    mean: float
    weight: float


def draw_points(steps: Iterable[Step], start_ms: int, end_ms: int, points: int) -> list[Point]:
    """Return at most `points` points of steps in order; each stretch is equally long, and one without a step has no point."""
    span = end_ms - start_ms + 1
    points = min(points, span)  # none is shorter than a millisecond
    stretches: dict[int, list[Step]] = {}
    for step in steps:
        if start_ms <= step.at_ms <= end_ms:
            stretches.setdefault((step.at_ms - start_ms) * points // span, []).append(step)
    # Rounded up: the first millisecond that falls into it.
    return [
        (start_ms - (-number * span // points), *_sum_up(among))
        for number, among in stretches.items()
    ]


def read_steps(kind: Kind, samples: Iterable[Sample]) -> Iterator[Step]:
    """Return what the samples of one instance tell, which are in order and of one kind."""
    if kind == "counter":
        return _read_rates(samples)
    if kind == "histogram":
        return _read_distributions(samples)
    values = ((sample.at_ms, sample.value) for sample in samples)
    return (
        Step(at, value, value, value, 1.0)
        for at, value in values
        if not isinstance(value, Distribution)
    )


def _read_rates(samples: Iterable[Sample]) -> Iterator[Step]:
    # Of several totals of one moment the last says it all.
    totals = {
        sample.at_ms: sample.value
        for sample in samples
        if not isinstance(sample.value, Distribution)
    }
    for (since_ms, before), (at_ms, total) in pairwise(totals.items()):
        took_s = (at_ms - since_ms) / 1000
        # A total that fell began anew, at 0.
        rate = (total - before if total >= before else total) / took_s
        yield Step(at_ms, rate, rate, rate, took_s)


def _read_distributions(samples: Iterable[Sample]) -> Iterator[Step]:
    before: Distribution | None = None
    for sample in samples:
        value = sample.value
        if not isinstance(value, Distribution):
            continue
        count, total = value.count, value.sum
        if before is not None and count >= before.count:
            count, total = count - before.count, total - before.sum
        if count:
            mean = total / count
            least = mean if value.min is None else value.min
            greatest = mean if value.max is None else value.max
            # Of the first it is not known how many of its values came since the one before, whose extremes these are.
            weight = 1.0 if before is None else float(count)
            yield Step(sample.at_ms, least, greatest, min(max(mean, least), greatest), weight)
        before = value


def _sum_up(steps: list[Step]) -> tuple[float, float, float]:
    least, greatest = min(step.least for step in steps), max(step.greatest for step in steps)
    whole = sum(step.weight for step in steps)
    mean = sum(step.mean * (step.weight / whole) for step in steps)
    return least, greatest, min(max(mean, least), greatest)
