"""`GET /api/services/{name}/metrics`: what a service measured, the latest of all, or the course of one."""

import msgspec

from pulseboard.bus.history.latest_metrics import LatestMetrics
from pulseboard.bus.history.reader import HistoryReader, Sample, TimeRange
from pulseboard.server.http.query import (
    bus_errors_as_problems,
    parse_metric,
    parse_service,
    parse_span,
)
from pulseboard.timeline.series import Point, draw_points, read_steps
from pulseboard.wire.events.metric import Kind, Value

POINTS_MOST = 2_000
LEAD_MS = 120_000
"""So much before a chart is looked at as well: what grew until its first sample is told by the one before that."""


class LatestValue(msgspec.Struct):
    """The latest value of one instance, and when that came (ms by Redis' clock)."""

    instance: str
    at: int
    value: Value


class LatestMetric(msgspec.Struct):
    """One metric of a service."""

    name: str
    kind: Kind
    instances: list[LatestValue]


class Series(msgspec.Struct):
    """The course of a metric in one instance: points of [ms, least, greatest, mean]."""

    instance: str
    points: list[Point]


class Chart(msgspec.Struct):
    """The course of a metric. `truncated` when there may be more between these times than was looked through."""

    name: str
    kind: Kind | None
    start: int | None = msgspec.field(name="from")
    end: int | None = msgspec.field(name="to")
    truncated: bool
    series: list[Series]


class LatestMetricsView(msgspec.Struct):
    """Every metric of a service."""

    metrics: list[LatestMetric]


async def read_metrics(
    latest: LatestMetrics, name: str, start: str | None, end: str | None
) -> LatestMetricsView:
    """Return every metric of a service with its latest values, in the order of the names; raise a Problem.

    The span is that of a chart, which this is not; a wrong one is wrong all the same.
    """
    service, _ = parse_service(name), parse_span(start, end)
    with bus_errors_as_problems():
        readings = await latest.read(service)
    found: dict[tuple[str, Kind], list[LatestValue]] = {}
    for cursor, event in readings:
        for metric, value in event.metrics.items():
            values = found.setdefault((metric, event.kind(metric)), [])
            values.append(LatestValue(event.instance, cursor.ms, value))
    return LatestMetricsView([LatestMetric(*key, found[key]) for key in sorted(found)])


async def read_chart(
    history: HistoryReader, name: str, metric: str, start: str | None, end: str | None, points: int
) -> Chart:
    """Return the course of one metric, of each instance; raise a Problem."""
    service, metric, span = parse_service(name), parse_metric(metric), parse_span(start, end)
    lead = (
        span if span.start_ms is None else TimeRange(max(0, span.start_ms - LEAD_MS), span.end_ms)
    )
    with bus_errors_as_problems():
        samples, truncated = await history.read_samples(service, metric, lead)
    if not samples:
        return Chart(metric, None, span.start_ms, span.end_ms, truncated, [])
    start_ms = samples[0].at_ms if span.start_ms is None else span.start_ms
    end_ms = samples[-1].at_ms if span.end_ms is None else span.end_ms
    kind = samples[-1].kind  # the one that it has now, should it have changed
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
