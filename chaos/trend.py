"""The quartiles and the least-squares line of a figure over time. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

EDGE_SAMPLES = 5
"""Start and end are medians of this number of samples, because one sample may be an outlier."""


class Trend(NamedTuple):
    """The development of a figure; `growth` is that of the line, from first to last sample."""

    start: float
    quartiles: tuple[float, float, float]
    end: float
    per_hour: float
    growth: float


def fit(samples: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend of at least two (seconds, value) pairs."""
    seconds, values = [at for at, _ in samples], [value for _, value in samples]
    slope = statistics.linear_regression(seconds, values).slope
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Trend(
        statistics.median(values[:EDGE_SAMPLES]),
        (low, middle, high),
        statistics.median(values[-EDGE_SAMPLES:]),
        slope * 3_600,
        slope * (seconds[-1] - seconds[0]),
    )
