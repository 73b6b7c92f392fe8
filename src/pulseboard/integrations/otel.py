"""OpenTelemetry: a metric exporter that sends to the board. Needs `pulseboard[otel]`."""

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
    """Exports metrics to a service, by a `PeriodicExportingMetricReader`.

    `PeriodicExportingMetricReader(PulseboardMetricExporter(service))` is the reader. Attributes
    become labels in the name, `http.requests{route="/x"}`. An export never waits and never fails:
    the service logs once that it cannot send a metric.
    """

    def __init__(self, service: Service) -> None:
        # The values since the last export are added to those of the service. So the extremes are
        # those of that time, and totals stay exact if other code uses the same name.
        delta = AggregationTemporality.DELTA
        super().__init__(
            preferred_temporality={Counter: delta, ObservableCounter: delta, Histogram: delta}
        )
        self._service = service

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        """Add the measured values to the instruments of the service."""
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._export_metric(metric)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing: the service has the values already, and sends them at its own interval."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Do nothing: the service outlives the exporter, and ends with the host application."""

    def _export_metric(self, metric: Metric) -> None:
        data, service = metric.data, self._service
        if isinstance(data, Gauge | Sum):
            is_growth = (
                isinstance(data, Sum)
                and data.is_monotonic
                and data.aggregation_temporality == AggregationTemporality.DELTA
            )
            for number in data.data_points:
                name = _join_labels(metric.name, number.attributes)
                if is_growth:
                    service.counter(name).add(number.value)
                else:
                    service.gauge(name).set(number.value)
            return
        for point in data.data_points:
            if point.count:
                histogram = service.histogram(_join_labels(metric.name, point.attributes))
                histogram.record_all(point.count, point.sum, point.min, point.max)


def _join_labels(name: str, attributes: Any) -> str:
    labels = {
        _NOT_IN_KEYS.sub("_", key): _CONTROLS.sub(" ", _text(value))
        for key, value in (attributes or {}).items()
    }
    return join_name(name, labels)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
