"""`POST /api/services/{name}/commands`, `GET /api/commands/{id}`: what a service is told to do, and what became of it."""

import hashlib
import re
from typing import Annotated, Any

import msgspec

from pulseboard.bus.commands.sender import CommandRecord, CommandSender, IdempotencyRecord
from pulseboard.control.dispatch import CommandRequest, Dispatcher
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import bus_errors_as_problems
from pulseboard.wire.codec import Json, encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.command import DEADLINE_S, MAX_DEADLINE_S, MIN_DEADLINE_S, Command
from pulseboard.wire.events.receipt import Receipt, Step
from pulseboard.wire.names import MAX_INSTANCE_CHARS

_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def _say(**schema: Any) -> msgspec.Meta:
    """Have the schema say what is checked here, in words of our own."""
    return msgspec.Meta(extra_json_schema={"extra": schema})


class CommandBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be done: by every instance that offers it, or by one; begun within `deadline_s`, or not at all."""

    command: Annotated[str, _say(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    instance: Annotated[str, msgspec.Meta(max_length=MAX_INSTANCE_CHARS)] | None = None
    args: dict[str, Any] = {}
    deadline_s: Annotated[float, _say(minimum=MIN_DEADLINE_S, maximum=MAX_DEADLINE_S)] = DEADLINE_S


class ReceiptView(msgspec.Struct, omit_defaults=True):
    """One receipt of a command's record."""

    instance: str
    receipt: Step
    timestamp: int
    reason: str = ""
    error: str = ""
    result: Json = msgspec.UNSET
    duration_ms: int | None = None


class CommandView(msgspec.Struct):
    """A command and what became of it so far. `issued` and `expires` are ms by Redis' clock, `cursor` its feed id."""

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
    receipts: list[ReceiptView]


class Sent(msgspec.Struct):
    """The record of a command, and whether it was sent by an earlier request of the same idempotency key."""

    record: CommandView
    again: bool


async def send_command(
    dispatch: Dispatcher,
    commands: CommandSender,
    service: str,
    request: CommandBody,
    key: str | None,
    origin: str,
) -> Sent:
    """Send a command; raise a Problem."""
    if key is not None and _KEY.fullmatch(key) is None:
        raise Problem(
            400, "bad-idempotency-key", "An Idempotency-Key is 1 to 200 printable ASCII characters."
        )
    if not MIN_DEADLINE_S <= request.deadline_s <= MAX_DEADLINE_S:
        raise Problem(
            400,
            "bad-deadline",
            f"deadline_s is from {MIN_DEADLINE_S:g} to {MAX_DEADLINE_S:.0f} seconds, not {request.deadline_s:g}.",
        )
    digest = hashlib.sha256(encode([service, msgspec.to_builtins(request)])).hexdigest()
    if key is not None and (known := await _find_known(commands, service, key, digest)) is not None:
        return known
    args = encode(request.args)
    command = await dispatch.make(
        CommandRequest(
            service, request.command, request.instance, args, request.deadline_s, origin=origin
        )
    )
    with bus_errors_as_problems():
        answer = await commands.send(command, key, digest)
    if isinstance(answer, IdempotencyRecord):  # another request of the same key came in between
        return await _tell_known(commands, answer, digest)
    return Sent(_view(command, answer, []), again=False)


async def read_command(commands: CommandSender, command_id: str) -> CommandView:
    """Return a command's record; raise a Problem."""
    record = None
    if _ID.fullmatch(command_id):
        with bus_errors_as_problems():
            record = await commands.read(command_id)
    if record is None:
        raise Problem(
            404, "unknown-command-id", "No such command is known; they are kept for seven days."
        )
    return _view_record(record)


async def _find_known(commands: CommandSender, service: str, key: str, digest: str) -> Sent | None:
    with bus_errors_as_problems():
        known = await commands.find_idempotency_record(service, key)
    return None if known is None else await _tell_known(commands, known, digest)


async def _tell_known(commands: CommandSender, known: IdempotencyRecord, digest: str) -> Sent:
    if known.digest != digest:
        raise Problem(
            422,
            "idempotency-key-reused",
            "This Idempotency-Key came before with another request: take a new one for each command.",
            command_id=known.command_id,
        )
    return Sent(await read_command(commands, known.command_id), again=True)


def _view_record(record: CommandRecord) -> CommandView:
    return _view(record.command, record.cursor, record.receipts)


def _view(command: Command, cursor: Cursor, receipts: list[Receipt]) -> CommandView:
    return CommandView(
        command.command_id,
        str(cursor),
        command.service,
        command.command,
        command.args,
        command.instances,
        command.issued,
        command.expires,
        command.by,
        command.source,
        command.origin,
        command.refused,
        [
            ReceiptView(
                receipt.instance,
                receipt.receipt,
                receipt.timestamp,
                receipt.reason,
                receipt.error,
                receipt.result,
                receipt.duration_ms,
            )
            for receipt in receipts
        ],
    )
