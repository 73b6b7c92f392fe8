"""Send a command, and read its receipts.

Endpoints: `POST /api/services/{name}/commands` and `GET /api/commands/{id}`.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post, route
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from pulseboard.control.dispatch import CommandRequest, Dispatcher
from pulseboard.control.errors import UnknownCommandId
from pulseboard.server.http.csrf import require_same_site
from pulseboard.server.http.parameters import CommandId, IdempotencyKey, ServiceName
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.responses import NO_STORE, READ, describe_responses, json_response
from pulseboard.wire.codec import Json, encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.command import DEADLINE_S, MAX_DEADLINE_S, MIN_DEADLINE_S, Command
from pulseboard.wire.events.receipt import Receipt, Step
from pulseboard.wire.names import MAX_INSTANCE_CHARS, NAME_PATTERN

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_COMMAND_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def _documented(**schema: Any) -> msgspec.Meta:
    """Add constraints to the OpenAPI document; code checks them, with better messages."""
    return msgspec.Meta(extra_json_schema={"extra": schema})


class CommandBody(msgspec.Struct, forbid_unknown_fields=True):
    """A command for each instance that is listening for it, or for one `instance`.

    An instance that does not begin within `deadline_s` does not begin at all.
    """

    command: Annotated[str, _documented(pattern=f"^{NAME_PATTERN}$")]
    instance: Annotated[str, msgspec.Meta(max_length=MAX_INSTANCE_CHARS)] | None = None
    args: dict[str, Any] = {}
    deadline_s: Annotated[float, _documented(minimum=MIN_DEADLINE_S, maximum=MAX_DEADLINE_S)] = (
        DEADLINE_S
    )


class RecordedReceipt(msgspec.Struct, omit_defaults=True):
    """One receipt of a command."""

    instance: str
    receipt: Step
    timestamp: int
    reason: str = ""
    error: str = ""
    result: Json = msgspec.UNSET
    duration_ms: int | None = None


class CommandView(msgspec.Struct):
    """A command with its receipts so far.

    `issued` and `expires`: ms by Redis' clock; `cursor`: its feed id.
    """

    id: str
    cursor: str
    service: str
    command: str
    args: msgspec.Raw
    instances: list[str]
    issued: int
    expires: int
    by: str
    source: str
    origin: str
    refused: str
    receipts: list[RecordedReceipt]


def routes(dispatcher: Dispatcher) -> list[ControllerRouterHandler]:
    """Return the routes of commands."""

    @post(
        "/api/services/{name:str}/commands",
        status_code=202,
        summary="Send a command to a service",
        description="202: the command was sent. 200: an earlier request with the same "
        "Idempotency-Key sent it.",
        responses=describe_responses(CommandView, 400, 403, 404, 409, 413, 415, 422, 429, 503),
    )
    async def send(
        request: Request[Any, Any, Any],
        name: ServiceName,
        data: JSONBody[CommandBody],
        idempotency_key: IdempotencyKey = None,
    ) -> Response[CommandView]:
        require_same_site(request)
        _check_idempotency_key(idempotency_key)
        _check_deadline(data.deadline_s)
        command_request = CommandRequest(
            service=name,
            command=data.command,
            instance=data.instance,
            args=encode(data.args),
            deadline_s=data.deadline_s,
            origin=request.client.host if request.client is not None else "",
        )
        sent = await dispatcher.send(command_request, idempotency_key)
        headers = NO_STORE | {"location": f"../../commands/{sent.command.command_id}"}
        record = _view_command(sent.command, sent.cursor, sent.receipts)
        return Response(record, status_code=200 if sent.again else 202, headers=headers)

    @route(
        "/api/commands/{command_id:str}",
        http_method=READ,
        summary="Return a command with its receipts so far, oldest first",
        responses=describe_responses(CommandView, 404, 503),
    )
    async def command(command_id: CommandId) -> Response[bytes]:
        if not _COMMAND_ID.fullmatch(command_id):
            raise UnknownCommandId("A command id has 32 hexadecimal digits.")
        record = await dispatcher.read(command_id)
        return json_response(_view_command(record.command, record.cursor, record.receipts))

    return [send, command]


def _check_idempotency_key(key: str | None) -> None:
    if key is not None and _IDEMPOTENCY_KEY.fullmatch(key) is None:
        detail = "An Idempotency-Key has 1 to 200 printable ASCII characters."
        raise Problem(400, "bad-idempotency-key", detail)


def _check_deadline(deadline_s: float) -> None:
    if not MIN_DEADLINE_S <= deadline_s <= MAX_DEADLINE_S:
        raise Problem(
            400,
            "bad-deadline",
            f"deadline_s must be from {MIN_DEADLINE_S:g} to {MAX_DEADLINE_S:.0f} seconds, "
            f"not {deadline_s:g}.",
        )


def _view_command(command: Command, cursor: Cursor, receipts: Sequence[Receipt]) -> CommandView:
    return CommandView(
        id=command.command_id,
        cursor=str(cursor),
        service=command.service,
        command=command.command,
        args=command.args,
        instances=command.instances,
        issued=command.issued,
        expires=command.expires,
        by=command.by,
        source=command.source,
        origin=command.origin,
        refused=command.refused,
        receipts=[_view_receipt(receipt) for receipt in receipts],
    )


def _view_receipt(receipt: Receipt) -> RecordedReceipt:
    return RecordedReceipt(
        instance=receipt.instance,
        receipt=receipt.receipt,
        timestamp=receipt.timestamp,
        reason=receipt.reason,
        error=receipt.error,
        result=receipt.result,
        duration_ms=receipt.duration_ms,
    )
