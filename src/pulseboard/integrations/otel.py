"""OpenTelemetry: what a host measures with it reaches the board as well. Needs `pulseboard[otel]`."""

import re
from typing import Any

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    Sum,
)

from pulseboard.sdk.service import Service
from pulseboard.wire.events.metric import join_name

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.]|^(?=[0-9.])")
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class PulseboardMetricExporter(MetricExporter):
    """Hands metrics to a service: `PeriodicExportingMetricReader(PulseboardMetricExporter(service))`.

    Attributes become labels in the name, `http.requests{route="/x"}`. It never fails: what the service cannot take, it
    complains of itself, and an export waits for nothing.
    """

    def __init__(self, service: Service) -> None:
        # What came since the last export is added to what the service has, so that the extremes are those of that time,
        # and totals stay exact whoever else counts under the name.
        delta = AggregationTemporality.DELTA
        super().__init__(
            preferred_temporality={Counter: delta, ObservableCounter: delta, Histogram: delta}
        )
        self._service = service

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        """Take what was measured."""
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._take(metric)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: what was exported is in the service's hands."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Do nothing: the service goes on, and ends when its host does."""

    def _take(self, metric: Metric) -> None:
        data, service = metric.data, self._service
        if isinstance(data, Gauge | Sum):
            is_growth = (
                isinstance(data, Sum)
                and data.is_monotonic
                and data.aggregation_temporality == AggregationTemporality.DELTA
            )
            for number in data.data_points:
                name = _fold(metric.name, number.attributes)
                if is_growth:
                    service.counter(name).add(number.value)
                else:
                    service.gauge(name).set(number.value)
            return
        for point in data.data_points:
            if point.count:
                histogram = service.histogram(_fold(metric.name, point.attributes))
                histogram.record_all(point.count, point.sum, point.min, point.max)


def _fold(name: str, attributes: Any) -> str:
    labels = {
        _NOT_IN_KEYS.sub("_", key): _CONTROLS.sub(" ", _text(value))
        for key, value in (attributes or {}).items()
    }
    return join_name(name, labels)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
