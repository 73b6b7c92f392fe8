"""`GET /api/services/{name}/metrics`: the latest metrics, or the chart of one metric."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from litestar import Response, route
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from pulseboard.bus.history.latest_metrics import InstanceMetrics, LatestMetrics
from pulseboard.bus.history.reader import HistoryReader
from pulseboard.hub.hub import Hub
from pulseboard.server.http.parameters import (
    TIME_RANGE,
    MetricName,
    ServiceName,
    TimeRangeParameters,
    reject_unknown_parameters,
)
from pulseboard.server.http.query import parse_metric, parse_service
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.timeline.charts import Chart, read_chart
from pulseboard.timeline.statuses import check_service_known
from pulseboard.wire.events.metric import MetricKind, Value

POINTS_MAX = 2_000


class LatestValue(msgspec.Struct):
    """The latest value of one instance, and when it was received (ms by Redis' clock)."""

    instance: str
    at: int
    value: Value


class LatestMetric(msgspec.Struct):
    """One metric of a service."""

    name: str
    kind: MetricKind
    instances: list[LatestValue]


class LatestMetricsView(msgspec.Struct):
    """All metrics of a service, by name."""

    metrics: list[LatestMetric]


def routes(
    hub: Hub, history: HistoryReader, latest: LatestMetrics
) -> list[ControllerRouterHandler]:
    """Return the route of metrics."""

    # `from` and `to` only apply to charts, but an invalid value is rejected without `name` too.
    @route(
        "/api/services/{name:str}/metrics",
        http_method=READ,
        guards=[reject_unknown_parameters],
        dependencies=TIME_RANGE,
        summary="Return the latest metrics of a service; with `name`, the chart of that metric",
        responses=describe_responses(LatestMetricsView | Chart, 400, 404, 503),
    )
    async def metrics(
        name: ServiceName,
        time_range: TimeRangeParameters,
        metric: MetricName = None,
        points: Annotated[int, QueryParameter(ge=1, le=POINTS_MAX)] = 300,
    ) -> Response[bytes]:
        service = parse_service(name)
        if metric is None:
            view = _group_by_metric(await latest.read(service))
            await check_service_known(hub, history, service, view.metrics)
            return json_response(view)
        chart = await read_chart(history, service, parse_metric(metric), time_range, points)
        await check_service_known(hub, history, service, chart.series)
        return json_response(chart)

    return [metrics]


def _group_by_metric(readings: Iterable[InstanceMetrics]) -> LatestMetricsView:
    found: dict[tuple[str, MetricKind], list[LatestValue]] = {}
    for cursor, event in readings:
        for metric, value in event.metrics.items():
            values = found.setdefault((metric, event.kind(metric)), [])
            values.append(LatestValue(event.instance, cursor.ms, value))
    return LatestMetricsView([LatestMetric(*key, found[key]) for key in sorted(found)])
