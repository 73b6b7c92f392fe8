"""What services are told to do."""

from typing import Any

from litestar import Request, Response, post, route
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from pulseboard.server.api.commands import CommandBody, CommandView, read_command, send_command
from pulseboard.server.http.csrf import require_same_site
from pulseboard.server.http.parameters import CommandId, IdempotencyKey, ServiceName
from pulseboard.server.http.responses import FRESH, READ, answers, json_answer
from pulseboard.server.runtime import Runtime


def make_control(core: Runtime) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @post(
        "/api/services/{name:str}/commands",
        status_code=202,
        summary="Tell a service to do what it offers; 202 when it was sent, 200 when the same Idempotency-Key sent it before",
        responses=answers(CommandView, 400, 403, 404, 409, 413, 415, 422, 429, 503),
    )
    async def send(
        request: Request[Any, Any, Any],
        name: ServiceName,
        data: JSONBody[CommandBody],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[CommandView]:
        require_same_site(request)
        origin = request.client.host if request.client is not None else ""
        sent = await send_command(core.dispatch, core.commands, name, data, idempotency_key, origin)
        headers = FRESH | {"location": f"../../commands/{sent.record.id}"}
        return Response(sent.record, status_code=200 if sent.again else 202, headers=headers)

    @route(
        "/api/commands/{command_id:str}",
        http_method=READ,
        summary="What became of a command: its receipts so far, in order",
        responses=answers(CommandView, 404, 503),
    )
    async def command(command_id: CommandId) -> Response[bytes]:
        return json_answer(await read_command(core.commands, command_id))

    return [send, command]
