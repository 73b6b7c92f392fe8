"""What was: histories, logs, and the board as it stood."""

from typing import Annotated, Any

from litestar import Request, Response, route
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from pulseboard.server.api.export import export, wants_export
from pulseboard.server.api.history import (
    MOST,
    Lines,
    Statuses,
    Wanted,
    all_lines,
    all_lines_of_all,
    all_statuses,
    check_known,
    read_all_lines,
    read_lines,
    read_statuses,
)
from pulseboard.server.api.metrics import (
    POINTS_MOST,
    Chart,
    LatestMetricsView,
    read_chart,
    read_metrics,
)
from pulseboard.server.http.parameters import (
    At,
    Before,
    BeforeLine,
    Contains,
    Format,
    From,
    Level,
    MetricName,
    ServiceName,
    Services,
    To,
    takes_no_others,
)
from pulseboard.server.http.query import parse_service, parse_span
from pulseboard.server.http.responses import READ, answers, json_answer
from pulseboard.server.runtime import Runtime
from pulseboard.timeline.past_board import PastBoard, read_board_at

Limit = Annotated[int, QueryParameter(ge=1, le=MOST)]


def make_past(core: Runtime) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @route(
        "/api/services/{name:str}/history",
        http_method=READ,
        guards=[takes_no_others],
        summary="What a service said of its status, in order",
        responses=answers(Statuses, 400, 404, 503),
    )
    async def history(
        request: Request[Any, Any, Any],
        name: ServiceName,
        start: From = None,
        end: To = None,
        before: Before = None,
        limit: Limit = 100,
        form: Format = None,
    ) -> Response[bytes]:
        service = parse_service(name)
        if wants_export(request, form):
            span = parse_span(start, end)
            await check_known(core.hub, core.history, service)
            return await export(
                core, f"{service}-history.jsonl", all_statuses(core.history, service, span)
            )
        found = await read_statuses(core.history, service, start, end, before, limit)
        await check_known(core.hub, core.history, service, found.events)
        return json_answer(found)

    @route(
        "/api/services/{name:str}/logs",
        http_method=READ,
        guards=[takes_no_others],
        summary="What a service logged, in order",
        responses=answers(Lines, 400, 404, 503),
    )
    async def logs(
        request: Request[Any, Any, Any],
        name: ServiceName,
        level: Level = None,
        contains: Contains = None,
        start: From = None,
        end: To = None,
        before: BeforeLine = None,
        limit: Limit = 100,
        form: Format = None,
    ) -> Response[bytes]:
        service, wanted = parse_service(name), Wanted.parse(level, contains, start, end)
        if wants_export(request, form):
            await check_known(core.hub, core.history, service)
            return await export(
                core, f"{service}-logs.jsonl", all_lines(core.history, service, wanted)
            )
        found = await read_lines(core.history, service, wanted, before, limit)
        await check_known(core.hub, core.history, service, found.lines)
        return json_answer(found)

    @route(
        "/api/logs",
        http_method=READ,
        guards=[takes_no_others],
        summary="What all services logged, merged in order",
        responses=answers(Lines, 400, 503),
    )
    async def merged_logs(
        request: Request[Any, Any, Any],
        level: Level = None,
        contains: Contains = None,
        start: From = None,
        end: To = None,
        before: BeforeLine = None,
        limit: Limit = 100,
        form: Format = None,
    ) -> Response[bytes]:
        wanted = Wanted.parse(level, contains, start, end)
        if wants_export(request, form):
            return await export(core, "logs.jsonl", all_lines_of_all(core.history, wanted))
        return json_answer(await read_all_lines(core.history, wanted, before, limit))

    @route(
        "/api/board",
        http_method=READ,
        guards=[takes_no_others],
        summary="The board as it stood at a moment, from what is kept",
        responses=answers(PastBoard, 400, 503),
    )
    async def board_at(at: At, services: Services = None) -> Response[bytes]:
        return json_answer(await read_board_at(core, at, services))

    @route(
        "/api/services/{name:str}/metrics",
        http_method=READ,
        guards=[takes_no_others],
        summary="The latest metrics of a service; with `name` one of them as series, down-sampled to what a chart can show",
        responses=answers(LatestMetricsView | Chart, 400, 404, 503),
    )
    async def metrics(
        name: ServiceName,
        metric: MetricName = None,
        start: From = None,
        end: To = None,
        points: Annotated[int, QueryParameter(ge=1, le=POINTS_MOST)] = 300,
    ) -> Response[bytes]:
        if metric is None:
            latest = await read_metrics(core.latest, name, start, end)
            await check_known(core.hub, core.history, name, latest.metrics)
            return json_answer(latest)
        chart = await read_chart(core.history, name, metric, start, end, points)
        await check_known(core.hub, core.history, name, chart.series)
        return json_answer(chart)

    return [history, logs, merged_logs, board_at, metrics]
