"""Series are down-sampled without losing a peak, for values of any magnitude."""

import math
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.bus.history.reader import Sample
from pulseboard.timeline.series import Point, draw_points, read_steps
from pulseboard.wire.events.metric import LARGEST, Distribution, MetricKind

values = st.floats(-LARGEST, LARGEST, allow_nan=False) | st.integers(-(10**6), 10**6)
times = st.lists(st.integers(0, 10_000), min_size=1, max_size=60).map(sorted)
resolutions = st.integers(1, 2_000)


def draw(
    kind: MetricKind, pairs: list[tuple[int, Any]], start: int, end: int, points: int = 100
) -> list[Point]:
    return draw_points(
        read_steps(kind, [Sample("w", at, kind, value) for at, value in pairs]), start, end, points
    )


def check_shape(shown: list[Point], start: int, end: int, points: int) -> None:
    ats = [at for at, *_ in shown]
    assert ats == sorted(set(ats))
    assert len(shown) <= points
    for at, least, greatest, mean in shown:
        assert start <= at <= end
        assert all(map(math.isfinite, (least, greatest, mean)))
        assert least <= mean <= greatest


@given(st.data(), times, resolutions)
def test_gauge_shows_every_extreme_at_its_time(
    data: st.DataObject, ats: list[int], points: int
) -> None:
    pairs = [(at, data.draw(values)) for at in ats]
    start, end = sorted((data.draw(st.integers(0, 10_000)), data.draw(st.integers(0, 10_000))))
    shown = draw("gauge", pairs, start, end, points)
    check_shape(shown, start, end, points)
    within = [(at, value) for at, value in pairs if start <= at <= end]
    assert bool(shown) == bool(within)
    for number, (at, least, greatest, _) in enumerate(shown):
        until = shown[number + 1][0] if number + 1 < len(shown) else end + 1
        here = [value for when, value in within if at <= when < until]
        assert (least, greatest) == (min(here), max(here))


@given(st.data(), times.map(lambda ats: sorted(set(ats))), resolutions)
def test_counter_shows_the_fastest_growth_and_the_total_growth(
    data: st.DataObject, ats: list[int], points: int
) -> None:
    grown = [data.draw(st.integers(0, 1_000)) for _ in ats]
    pairs = list(zip(ats, accumulate(grown), strict=True))
    shown = draw("counter", pairs, 0, 10_000, points)
    check_shape(shown, 0, 10_000, points)
    rates = [
        growth * 1000 / (at - before)
        for growth, before, at in zip(grown[1:], ats, ats[1:], strict=False)
    ]
    assert bool(shown) == bool(rates)
    if rates:
        assert max(greatest for _, _, greatest, _ in shown) == pytest.approx(max(rates))
        ((*_, mean),) = draw("counter", pairs, 0, 10_000, 1)
        assert mean * (ats[-1] - ats[0]) / 1000 == pytest.approx(sum(grown[1:]))


@given(st.data(), times, resolutions)
def test_histogram_shows_every_extreme(data: st.DataObject, ats: list[int], points: int) -> None:
    batches = [data.draw(st.lists(st.floats(-1e6, 1e6), max_size=5)) for _ in ats]
    pairs, count, total = [], 0, 0.0
    for at, batch in zip(ats, batches, strict=True):
        count, total = count + len(batch), total + sum(batch)
        extremes = (min(batch), max(batch)) if batch else (None, None)
        pairs.append((at, Distribution(count, total, *extremes)))
    shown = draw("histogram", pairs, 0, 10_000, points)
    check_shape(shown, 0, 10_000, points)
    every = [value for batch in batches for value in batch]
    assert bool(shown) == bool(every)
    if every:
        assert min(least for _, least, _, _ in shown) == min(every)
        assert max(greatest for _, _, greatest, _ in shown) == max(every)


@given(st.data(), times, resolutions, st.sampled_from(["gauge", "counter", "histogram"]))
def test_inconsistent_metrics_of_external_publishers_give_valid_points(
    data: st.DataObject, ats: list[int], points: int, kind: MetricKind
) -> None:
    """Totals jump, sums shrink and extremes do not match: the points stay finite and ordered.

    No error is raised, and every number can be written as JSON.
    """
    distributions = st.builds(
        lambda count, total, extremes: Distribution(count, total, *sorted(extremes)),
        st.integers(0, 2**63 - 1),
        st.floats(-LARGEST, LARGEST),
        st.tuples(st.floats(-LARGEST, LARGEST), st.floats(-LARGEST, LARGEST)),
    )
    pairs = [(at, data.draw(distributions if kind == "histogram" else values)) for at in ats]
    check_shape(draw(kind, pairs, 0, 10_000, points), 0, 10_000, points)


def test_counter_is_shown_as_growth_per_second() -> None:
    assert draw(
        "counter", [(0, 10), (1_000, 20), (3_000, 20), (4_000, 50)], 0, 3_999 + 1, 4_001
    ) == [
        (1_000, 10.0, 10.0, 10.0),
        (3_000, 0.0, 0.0, 0.0),
        (4_000, 30.0, 30.0, 30.0),
    ]
    (point,) = draw("counter", [(0, 10), (1_000, 20), (3_000, 20), (4_000, 50)], 0, 4_000, 1)
    assert point == (0, 0.0, 30.0, 10.0), (
        "the mean is that of the whole range, for any number of points"
    )


def test_counter_that_restarted_grew_by_its_new_value() -> None:
    assert [
        rate for _, rate, _, _ in draw("counter", [(0, 100), (1_000, 7), (2_000, 9)], 0, 2_000)
    ] == [7.0, 2.0]


def test_histogram_that_restarted_shows_its_new_values() -> None:
    pairs = [(0, Distribution(10, 100.0, 1.0, 50.0)), (1_000, Distribution(2, 6.0, 1.0, 5.0))]
    (_, _, _, first), (_, least, greatest, mean) = draw("histogram", pairs, 0, 1_000)
    assert (first, least, greatest, mean) == (10.0, 1.0, 5.0, 3.0)


def test_histogram_that_was_published_twice_counts_once() -> None:
    """A publisher that did not receive the reply of Redis publishes the same value again."""
    value = Distribution(4, 8.0, 1.0, 3.0)
    assert (
        len(
            draw("histogram", [(0, Distribution(0, 0.0)), (1_000, value), (2_000, value)], 0, 2_000)
        )
        == 1
    )


@pytest.mark.parametrize("points", [1, 2, 7, 2_000])
def test_range_of_one_millisecond_is_one_point(points: int) -> None:
    assert draw("gauge", [(5, 1), (5, 3)], 5, 5, points) == [(5, 1, 3, 2.0)]
