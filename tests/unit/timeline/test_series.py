"""Series: down-sampled so that no peak vanishes, whatever comes in whatever order of magnitude."""

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


def check_shape(drawn: list[Point], start: int, end: int, points: int) -> None:
    ats = [at for at, *_ in drawn]
    assert ats == sorted(set(ats))
    assert len(drawn) <= points
    for at, least, greatest, mean in drawn:
        assert start <= at <= end
        assert all(map(math.isfinite, (least, greatest, mean)))
        assert least <= mean <= greatest


@given(st.data(), times, resolutions)
def test_of_a_gauge_every_extreme_is_shown_where_it_was(
    data: st.DataObject, ats: list[int], points: int
) -> None:
    pairs = [(at, data.draw(values)) for at in ats]
    start, end = sorted((data.draw(st.integers(0, 10_000)), data.draw(st.integers(0, 10_000))))
    drawn = draw("gauge", pairs, start, end, points)
    check_shape(drawn, start, end, points)
    within = [(at, value) for at, value in pairs if start <= at <= end]
    assert bool(drawn) == bool(within)
    for number, (at, least, greatest, _) in enumerate(drawn):
        until = drawn[number + 1][0] if number + 1 < len(drawn) else end + 1
        here = [value for when, value in within if at <= when < until]
        assert (least, greatest) == (min(here), max(here))


@given(st.data(), times.map(lambda ats: sorted(set(ats))), resolutions)
def test_of_a_counter_the_fastest_growth_is_shown_and_no_growth_is_lost(
    data: st.DataObject, ats: list[int], points: int
) -> None:
    grown = [data.draw(st.integers(0, 1_000)) for _ in ats]
    pairs = list(zip(ats, accumulate(grown), strict=True))
    drawn = draw("counter", pairs, 0, 10_000, points)
    check_shape(drawn, 0, 10_000, points)
    rates = [
        growth * 1000 / (at - before)
        for growth, before, at in zip(grown[1:], ats, ats[1:], strict=False)
    ]
    assert bool(drawn) == bool(rates)
    if rates:
        assert max(greatest for _, _, greatest, _ in drawn) == pytest.approx(max(rates))
        ((*_, mean),) = draw("counter", pairs, 0, 10_000, 1)
        assert mean * (ats[-1] - ats[0]) / 1000 == pytest.approx(sum(grown[1:]))


@given(st.data(), times, resolutions)
def test_of_a_histogram_every_extreme_is_shown(
    data: st.DataObject, ats: list[int], points: int
) -> None:
    batches = [data.draw(st.lists(st.floats(-1e6, 1e6), max_size=5)) for _ in ats]
    pairs, count, total = [], 0, 0.0
    for at, batch in zip(ats, batches, strict=True):
        count, total = count + len(batch), total + sum(batch)
        extremes = (min(batch), max(batch)) if batch else (None, None)
        pairs.append((at, Distribution(count, total, *extremes)))
    drawn = draw("histogram", pairs, 0, 10_000, points)
    check_shape(drawn, 0, 10_000, points)
    every = [value for batch in batches for value in batch]
    assert bool(drawn) == bool(every)
    if every:
        assert min(least for _, least, _, _ in drawn) == min(every)
        assert max(greatest for _, _, greatest, _ in drawn) == max(every)


@given(st.data(), times, resolutions, st.sampled_from(["gauge", "counter", "histogram"]))
def test_whatever_a_plain_publisher_sends_is_drawn_in_shape(
    data: st.DataObject, ats: list[int], points: int, kind: MetricKind
) -> None:
    """Totals that jump about, sums that shrink, extremes that belong to nothing: no error, and no number that JSON lacks."""
    distributions = st.builds(
        lambda count, total, extremes: Distribution(count, total, *sorted(extremes)),
        st.integers(0, 2**63 - 1),
        st.floats(-LARGEST, LARGEST),
        st.tuples(st.floats(-LARGEST, LARGEST), st.floats(-LARGEST, LARGEST)),
    )
    pairs = [(at, data.draw(distributions if kind == "histogram" else values)) for at in ats]
    check_shape(draw(kind, pairs, 0, 10_000, points), 0, 10_000, points)


def test_a_counter_is_shown_as_growth_per_second() -> None:
    assert draw(
        "counter", [(0, 10), (1_000, 20), (3_000, 20), (4_000, 50)], 0, 3_999 + 1, 4_001
    ) == [
        (1_000, 10.0, 10.0, 10.0),
        (3_000, 0.0, 0.0, 0.0),
        (4_000, 30.0, 30.0, 30.0),
    ]
    (point,) = draw("counter", [(0, 10), (1_000, 20), (3_000, 20), (4_000, 50)], 0, 4_000, 1)
    assert point == (0, 0.0, 30.0, 10.0), "the mean is that of the whole time, however it was cut"


def test_a_counter_that_began_anew_grew_by_what_it_has() -> None:
    assert [
        rate for _, rate, _, _ in draw("counter", [(0, 100), (1_000, 7), (2_000, 9)], 0, 2_000)
    ] == [7.0, 2.0]


def test_a_histogram_that_began_anew_tells_what_it_has() -> None:
    pairs = [(0, Distribution(10, 100.0, 1.0, 50.0)), (1_000, Distribution(2, 6.0, 1.0, 5.0))]
    (_, _, _, first), (_, least, greatest, mean) = draw("histogram", pairs, 0, 1_000)
    assert (first, least, greatest, mean) == (10.0, 1.0, 5.0, 3.0)


def test_a_histogram_told_twice_since_the_answer_was_lost_counts_once() -> None:
    value = Distribution(4, 8.0, 1.0, 3.0)
    assert (
        len(
            draw("histogram", [(0, Distribution(0, 0.0)), (1_000, value), (2_000, value)], 0, 2_000)
        )
        == 1
    )


@pytest.mark.parametrize("points", [1, 2, 7, 2_000])
def test_a_span_of_one_millisecond_is_one_point(points: int) -> None:
    assert draw("gauge", [(5, 1), (5, 3)], 5, 5, points) == [(5, 1, 3, 2.0)]
