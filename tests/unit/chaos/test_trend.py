"""The fitted line shows growth, and does not mistake an oscillation for growth."""

import pytest
from chaos.trend import fit


def test_steady_growth_is_the_slope() -> None:
    trend = fit([(10.0 * n, 100 + 0.5 * n) for n in range(100)])
    assert trend.per_hour == pytest.approx(180)
    assert trend.growth == pytest.approx(49.5)
    assert (trend.start, trend.end) == (101, 148.5)


def test_oscillation_has_little_growth() -> None:
    trend = fit([(float(n), 100 + 10 * (n % 2)) for n in range(100)])
    assert abs(trend.growth) < 1
    assert trend.quartiles == (100, 105, 110)
