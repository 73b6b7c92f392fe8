"""A figure over time: its quartiles, and the straight line that fits it best. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

EDGE = 5
"""Start and end are the medians of so many samples, since one may stand in the middle of something."""


class Trend(NamedTuple):
    """What became of one figure. `growth` is that of the fitted line, from the first sample to the last."""

    start: float
    quartiles: tuple[float, float, float]
    end: float
    per_hour: float
    growth: float


def fit(samples: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend of (seconds, value) pairs, of which there are at least two."""
    seconds, values = [at for at, _ in samples], [value for _, value in samples]
    slope = statistics.linear_regression(seconds, values).slope
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Trend(
        statistics.median(values[:EDGE]),
        (low, middle, high),
        statistics.median(values[-EDGE:]),
        slope * 3_600,
        slope * (seconds[-1] - seconds[0]),
    )
