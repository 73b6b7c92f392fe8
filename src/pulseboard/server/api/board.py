"""`GET /api/board?at=`: the board as it stood at a past moment."""

from litestar import Response, route
from litestar.types import ControllerRouterHandler

from pulseboard.server.http.parameters import At, Services, reject_unknown_parameters
from pulseboard.server.http.query import parse_moment, parse_services
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.timeline.past_board import PastBoard, PastBoardReader


def routes(past_board: PastBoardReader) -> list[ControllerRouterHandler]:
    """Return the route of past boards."""

    @route(
        "/api/board",
        http_method=READ,
        guards=[reject_unknown_parameters],
        summary="Return the board as it stood at a past moment",
        responses=describe_responses(PastBoard, 400, 503),
    )
    async def board(at: At, services: Services = None) -> Response[bytes]:
        at_ms = parse_moment("at", at)
        return json_response(await past_board.read(at_ms, parse_services(services)))

    return [board]
