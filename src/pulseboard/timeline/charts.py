"""The chart of one metric, with a series for each instance."""

import msgspec

from pulseboard.bus.history.reader import HistoryReader, Sample, TimeRange
from pulseboard.timeline.series import Point, draw_points, read_steps
from pulseboard.wire.events.metric import MetricKind

LEAD_MS = 120_000
"""Samples this long before a chart are read too.

The first rate of a counter needs the sample before it.
"""


class Series(msgspec.Struct):
    """The values of a metric in one instance, as points of [ms, minimum, maximum, mean]."""

    instance: str
    points: list[Point]


class Chart(msgspec.Struct):
    """The values of a metric over time. `truncated`: older samples of the range were not read."""

    name: str
    kind: MetricKind | None
    start: int | None = msgspec.field(name="from")
    end: int | None = msgspec.field(name="to")
    truncated: bool
    series: list[Series]


async def read_chart(
    history: HistoryReader, service: str, metric: str, time_range: TimeRange, points: int
) -> Chart:
    """Return the chart of one metric with at most `points` points for each instance."""
    start_ms, end_ms = time_range
    with_lead = TimeRange(None if start_ms is None else max(0, start_ms - LEAD_MS), end_ms)
    samples, truncated = await history.read_samples(service, metric, with_lead)
    if not samples:
        return Chart(metric, None, start_ms, end_ms, truncated, [])
    start_ms = samples[0].at_ms if start_ms is None else start_ms
    end_ms = samples[-1].at_ms if end_ms is None else end_ms
    kind = samples[-1].kind  # the latest one, if a service changed the kind of its metric
    by_instance: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.kind == kind:
            by_instance.setdefault(sample.instance, []).append(sample)
    drawn = [
        Series(
            instance, draw_points(read_steps(kind, own), start_ms, max(start_ms, end_ms), points)
        )
        for instance, own in by_instance.items()
    ]
    return Chart(
        metric, kind, start_ms, end_ms, truncated, [series for series in drawn if series.points]
    )
