"""`GET /metrics`: the latest metrics of every service, the states of instances, and the server's own health, for Prometheus."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pulseboard.bus.history.latest_metrics import InstanceMetrics, LogLineCount
from pulseboard.server.api.prometheus_families import make_families
from pulseboard.server.runtime import Runtime
from pulseboard.server.version import VERSION
from pulseboard.wire.errors import BusUnavailable, Reason
from pulseboard.wire.state import State

MEDIA_TYPE = "text/plain; version=0.0.4"
READ_S = 4.0
"""How long Redis may take; a scrape is given up after 10 s (scrape_timeout), and is to tell that Redis hangs."""
STRAY_MS = 300_000
"""For so long the metrics of one that is not on the board are told: nobody says when it has gone."""

_PRESENT = frozenset({State.ALIVE, State.LATE, State.SILENT})


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


async def expose(core: Runtime) -> bytes:
    """Return all metrics as text. While Redis is away, those that this server knows by itself."""
    readings: list[InstanceMetrics] = []
    lines: list[LogLineCount] = []
    redis_up = core.hub.blind is None
    if redis_up:
        try:
            async with asyncio.timeout(READ_S):
                readings, lines = await core.latest.read(), await core.latest.read_line_counts()
        except (BusUnavailable, TimeoutError):
            redis_up = False
            readings, lines = [], []
    own = [*_health(core, redis_up=redis_up), *_states(core), _count_lines(lines)]
    present = list(_present(core, readings))
    # In a thread: a hundred thousand samples would take the loop away from the streams.
    return await asyncio.to_thread(
        lambda: generate_latest(_Families([*own, *make_families(present)]))
    )


def _health(core: Runtime, *, redis_up: bool) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "pulseboard_build_info", "The version of this server.", labels=["version"]
    )
    build.add_metric([VERSION], 1)
    yield build
    for name, help_text, value in (
        ("redis_up", "Whether this server can reach Redis.", redis_up),
        (
            "blind",
            "Whether this server sees nothing of any service, and so vouches for nothing.",
            core.hub.blind is not None,
        ),
        ("ready", "Whether the board can be relied upon.", core.trouble is None),
        ("clients", "Streams that are open at this server.", core.hub.clients),
        ("tasks", "Tasks in the event loop of this server.", len(asyncio.all_tasks())),
    ):
        yield GaugeMetricFamily(f"pulseboard_{name}", help_text, float(value))
    yield CounterMetricFamily(
        "pulseboard_coverage_gaps",
        "How often plain publishes were not heard for a while.",
        core.coverage_gaps,
    )
    dropped = CounterMetricFamily(
        "pulseboard_dropped_messages", "Messages that were none.", labels=["reason"]
    )
    for reason in get_args(Reason):
        dropped.add_metric([reason], core.rejections.counts[reason])
    yield dropped


def _states(core: Runtime) -> Iterator[Metric]:
    states = Counter(state for _, _, state in core.hub.board.roll_call(core.hub.sight))
    family = GaugeMetricFamily(
        "pulseboard_instances", "Instances on the board, by their state.", labels=["state"]
    )
    for state in State:
        family.add_metric([state], states[state])
    yield family


def _count_lines(lines: Iterable[LogLineCount]) -> Metric:
    family = CounterMetricFamily(
        "pulseboard_log_lines", "Lines that services logged.", labels=["service", "level"]
    )
    for service, level, count in lines:
        family.add_metric([service, level], count)
    return family


def _present(core: Runtime, readings: Iterable[InstanceMetrics]) -> Iterator[InstanceMetrics]:
    """Yield what instances told that are there: what has ended or is lost measures nothing."""
    states = core.hub.board.states(core.hub.sight)
    for reading in readings:
        state = states.get((reading.event.service, reading.event.instance))
        is_recent = reading.cursor.ms >= core.hub.now_ms - STRAY_MS
        if state in _PRESENT or (state is None and is_recent):
            yield reading
