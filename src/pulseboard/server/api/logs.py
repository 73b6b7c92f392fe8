"""`GET /api/services/{name}/logs` and `GET /api/logs`: log lines of one service, or of all."""

from typing import Any

from litestar import Request, Response, route
from litestar.types import ControllerRouterHandler

from pulseboard.bus.history.reader import HistoryReader
from pulseboard.hub.hub import Hub
from pulseboard.server.api.export import export, wants_export
from pulseboard.server.http.parameters import (
    LOG_QUERY,
    BeforeLine,
    Format,
    Limit,
    LogQueryParameters,
    ServiceName,
    reject_unknown_parameters,
)
from pulseboard.server.http.query import parse_before, parse_service
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.timeline.logs import (
    LogPage,
    iterate_lines,
    iterate_merged_lines,
    read_lines,
    read_merged_lines,
)
from pulseboard.timeline.statuses import check_service_known
from pulseboard.wire.events.log import LinePosition


def routes(hub: Hub, history: HistoryReader) -> list[ControllerRouterHandler]:
    """Return the routes for log lines."""

    @route(
        "/api/services/{name:str}/logs",
        http_method=READ,
        guards=[reject_unknown_parameters],
        dependencies=LOG_QUERY,
        summary="Return the log lines of a service, oldest first",
        responses=describe_responses(LogPage, 400, 404, 503),
    )
    async def service_logs(
        request: Request[Any, Any, Any],
        name: ServiceName,
        log_query: LogQueryParameters,
        before: BeforeLine = None,
        limit: Limit = 100,
        form: Format = None,
    ) -> Response[bytes]:
        service = parse_service(name)
        if wants_export(request, form):
            await check_service_known(hub, history, service)
            pages = iterate_lines(history, service, log_query)
            return await export(hub, f"{service}-logs.jsonl", pages)
        before_line = parse_before(before, LinePosition.parse)
        page = await read_lines(history, service, log_query, before=before_line, limit=limit)
        await check_service_known(hub, history, service, page.lines)
        return json_response(page)

    @route(
        "/api/logs",
        http_method=READ,
        guards=[reject_unknown_parameters],
        dependencies=LOG_QUERY,
        summary="Return the log lines of all services, merged, oldest first",
        responses=describe_responses(LogPage, 400, 503),
    )
    async def merged_logs(
        request: Request[Any, Any, Any],
        log_query: LogQueryParameters,
        before: BeforeLine = None,
        limit: Limit = 100,
        form: Format = None,
    ) -> Response[bytes]:
        if wants_export(request, form):
            return await export(hub, "logs.jsonl", iterate_merged_lines(history, log_query))
        before_line = parse_before(before, LinePosition.parse)
        return json_response(
            await read_merged_lines(history, log_query, before=before_line, limit=limit)
        )

    return [service_logs, merged_logs]
