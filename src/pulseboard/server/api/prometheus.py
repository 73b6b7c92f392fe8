"""`GET /metrics` for Prometheus: metrics of services, instance states, server health."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from litestar import Response, route
from litestar.openapi import ResponseSpec
from litestar.types import ControllerRouterHandler
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pulseboard.bus.history.latest_metrics import InstanceMetrics, LatestMetrics, LogLineCount
from pulseboard.hub.hub import Hub
from pulseboard.server.api.prometheus_families import make_families
from pulseboard.server.health import ServerHealth
from pulseboard.server.http.responses import NO_STORE, READ
from pulseboard.server.version import VERSION
from pulseboard.wire.errors import BusUnavailable, Reason
from pulseboard.wire.state import State

MEDIA_TYPE = "text/plain; version=0.0.4"
READ_TIMEOUT_S = 4.0
"""Time for all reads from Redis.

Prometheus gives up after 10 s (scrape_timeout), and must learn that Redis hangs.
"""
UNKNOWN_INSTANCE_MS = 300_000
"""Time for which metrics of an instance that is not on the board are shown.

Nothing reports the end of such an instance.
"""

_PRESENT = frozenset({State.ALIVE, State.LATE, State.SILENT})


def routes(hub: Hub, latest: LatestMetrics, health: ServerHealth) -> list[ControllerRouterHandler]:
    """Return the route of the Prometheus exposition."""
    exposition = Exposition(hub, latest, health)

    @route(
        "/metrics",
        http_method=READ,
        summary="Return the latest metrics of all services and the health of this server, "
        "for Prometheus",
        responses={
            200: ResponseSpec(
                str, description="The response", media_type=MEDIA_TYPE, generate_examples=False
            )
        },
    )
    async def metrics() -> Response[bytes]:
        return Response(await exposition.read(), media_type=MEDIA_TYPE, headers=NO_STORE)

    return [metrics]


class Exposition:
    """Writes all metrics as text."""

    def __init__(self, hub: Hub, latest: LatestMetrics, health: ServerHealth) -> None:
        self._hub = hub
        self._latest = latest
        self._health = health

    async def read(self) -> bytes:
        """Return all metrics; while Redis cannot be reached, only those of this server."""
        readings: list[InstanceMetrics] = []
        lines: list[LogLineCount] = []
        redis_up = self._hub.blind is None
        if redis_up:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    readings = await self._latest.read()
                    lines = await self._latest.read_line_counts()
            except (BusUnavailable, TimeoutError):
                redis_up = False
                readings, lines = [], []
        own = [
            *self._describe_server(redis_up=redis_up),
            self._count_states(),
            _count_lines(lines),
        ]
        present = list(self._select_present(readings))
        # In a thread, because 100,000 samples would block the event loop and with it the streams.
        return await asyncio.to_thread(
            lambda: generate_latest(FamilyCollector([*own, *make_families(present)]))
        )

    def _describe_server(self, *, redis_up: bool) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "pulseboard_build_info", "The version of this server.", labels=["version"]
        )
        build.add_metric([VERSION], 1)
        yield build
        ready = self._health.not_ready_reason is None
        for name, help_text, value in (
            ("redis_up", "Whether this server can reach Redis.", redis_up),
            (
                "blind",
                "Whether this server cannot see Redis, so that all its states are unknown.",
                self._hub.blind is not None,
            ),
            ("ready", "Whether clients can rely on the board.", ready),
            ("clients", "Open streams of this server.", self._hub.clients),
            ("tasks", "Tasks in the event loop of this server.", len(asyncio.all_tasks())),
        ):
            yield GaugeMetricFamily(f"pulseboard_{name}", help_text, float(value))
        yield CounterMetricFamily(
            "pulseboard_coverage_gaps",
            "Periods without a subscription, in which external messages may have been missed.",
            self._health.coverage_gaps,
        )
        dropped = CounterMetricFamily(
            "pulseboard_dropped_messages",
            "Invalid messages that were dropped, by reason.",
            labels=["reason"],
        )
        for reason in get_args(Reason):
            dropped.add_metric([reason], self._health.dropped.get(reason, 0))
        yield dropped

    def _count_states(self) -> Metric:
        counts = Counter(self._hub.board.states_with_missing(self._hub.freshness))
        family = GaugeMetricFamily(
            "pulseboard_instances", "Instances on the board, by state.", labels=["state"]
        )
        for state in State:
            family.add_metric([state], counts[state])
        return family

    def _select_present(self, readings: Iterable[InstanceMetrics]) -> Iterator[InstanceMetrics]:
        """Yield the metrics of running instances: a stopped or lost one measures nothing."""
        states = self._hub.board.states(self._hub.freshness)
        for reading in readings:
            state = states.get((reading.event.service, reading.event.instance))
            is_recent = reading.cursor.ms >= self._hub.now_ms - UNKNOWN_INSTANCE_MS
            if state in _PRESENT or (state is None and is_recent):
                yield reading


class FamilyCollector(Collector):
    """Passes finished metric families to `prometheus_client`."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _count_lines(counts: Iterable[LogLineCount]) -> Metric:
    family = CounterMetricFamily(
        "pulseboard_log_lines",
        "Log lines of services, by service and level.",
        labels=["service", "level"],
    )
    for service, level, count in counts:
        family.add_metric([service, level], count)
    return family
