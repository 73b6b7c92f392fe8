"""Dispatch: decides whether a command is sent, and to which instances.

Commands come from the API and from external messages.
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from pulseboard.bus.commands.records import CommandRecord, IdempotencyRecord
from pulseboard.bus.commands.sender import CommandSender
from pulseboard.control.arguments import find_objection
from pulseboard.control.errors import (
    ArgumentsTooLarge,
    BadArguments,
    BoardBlind,
    CommandError,
    IdempotencyKeyReused,
    NoListener,
    TooManyOpenCommands,
    UnknownCommand,
    UnknownCommandId,
    UnknownInstance,
    UnknownService,
)
from pulseboard.hub.hub import Hub
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import check_raw_object, encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.command import Command, ExternalCommand, check_args
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.names import check_command_name, check_service_name
from pulseboard.wire.state import State

RETRY_FOR_S, RETRY_EVERY_S = 5.0, 0.2
"""How long an external command waits for a blind board, and how often it tries again."""

OPEN_COMMANDS_MAX = 1_000
"""Commands without a result that may exist at a time, of all services together."""

STATES_SHOWN = 5
"""Instances that an error message names."""

_CAN_LISTEN = frozenset({State.ALIVE, State.LATE, State.SILENT})
"""States in which an instance may be running, so its lease as a listener is looked up."""


class CommandRequest(NamedTuple):
    """A command as it is requested: for a service, or for one instance of it.

    `args` is the JSON of an object; `by` is the user who asks, `origin` the address.
    """

    service: str
    command: str
    instance: str | None
    args: bytes
    deadline_s: float
    by: str = ""
    origin: str = ""


class SentCommand(NamedTuple):
    """A command that was sent, its feed id and its receipts so far.

    `again`: an earlier request with the same idempotency key sent it.
    """

    command: Command
    cursor: Cursor
    receipts: list[Receipt]
    again: bool


class Dispatcher:
    """Turns requests into commands and sends them.

    Raises CommandError for a request that cannot be fulfilled, InvalidName, and BusUnavailable.
    """

    def __init__(self, hub: Hub, commands: CommandSender) -> None:
        self._hub = hub
        self._commands = commands

    async def send(self, request: CommandRequest, idempotency_key: str | None) -> SentCommand:
        """Send a command, or return the one that the same idempotency key sent before."""
        digest = _digest(request)
        if idempotency_key is not None:
            known = await self._commands.find_idempotency_record(request.service, idempotency_key)
            if known is not None:
                return await self._read_known(known, digest)
        command = await self.make(request)
        answer = await self._commands.send(command, idempotency_key, digest)
        if isinstance(answer, IdempotencyRecord):
            # A concurrent request with the same key was faster.
            return await self._read_known(answer, digest)
        return SentCommand(command, answer, [], again=False)

    async def read(self, command_id: str) -> CommandRecord:
        """Return a command with its receipts so far."""
        record = await self._commands.read(command_id)
        if record is None:
            raise UnknownCommandId("No command has this id. Commands are kept for seven days.")
        return record

    async def make(self, request: CommandRequest) -> Command:
        """Return the command for the instances that are listening for it."""
        check_service_name(request.service)
        _check(request)
        if self._hub.blind is not None:
            raise BoardBlind(
                "The board cannot see Redis, so it does not know which instances are listening."
            )
        states = self._find_instances(request)
        running = [instance for instance, state in states.items() if state in _CAN_LISTEN]
        listeners = await self._commands.read_listeners(request.service, running)
        if not listeners:
            raise NoListener(_explain_no_listener(request.service, states), states)
        able = {
            name: listener
            for name, listener in listeners.items()
            if request.command in listener.commands
        }
        if not able:
            available = sorted(
                {name for listener in listeners.values() for name in listener.commands}
            )
            raise UnknownCommand(
                f"{request.service} has no command {request.command!r}. "
                f"Its commands are {', '.join(available)}.",
                available,
            )
        schemas = (listener.commands[request.command].args for listener in able.values())
        if (objection := find_objection(request.args, schemas)) is not None:
            raise BadArguments(f"{request.command} does not accept these arguments: {objection}.")
        if await self._commands.count_open_commands() >= OPEN_COMMANDS_MAX:
            raise TooManyOpenCommands(
                f"{OPEN_COMMANDS_MAX} commands have no result yet: wait until some are completed."
            )
        return self._build(request, list(able))

    async def make_external(self, external: ExternalCommand) -> Command:
        """Return the command of an external message; a refused one has a reason, no instances.

        Raises nothing, since the publisher of the message gets no answer.
        """
        request = _request_of(external)
        give_up_at = time.monotonic() + min(external.deadline_s, RETRY_FOR_S)
        while True:
            check_cancelled()
            try:
                command = await self.make(request)
            except (BoardBlind, BusUnavailable) as error:
                # The publisher cannot try again, so a short outage must not cost the command.
                if time.monotonic() >= give_up_at:
                    return self._refuse(request, _describe(error))
                await asyncio.sleep(RETRY_EVERY_S)
            except (CommandError, InvalidEvent) as error:
                return self._refuse(request, _describe(error))
            else:
                return msgspec.structs.replace(command, source="publish")

    async def refuse_external(self, external: ExternalCommand) -> Command:
        """Return the command of an external message, refused because this server accepts none."""
        reason = "command-refused: this server does not accept external commands"
        return self._refuse(_request_of(external), reason)

    def _find_instances(self, request: CommandRequest) -> dict[str, State]:
        """Return the state of each instance that a request is for."""
        service, instance = request.service, request.instance
        states = self._hub.states(service)
        if not states and service not in self._hub.board.expected:
            raise UnknownService(f"The board knows no service {service!r}.")
        if instance is None:
            return states
        if instance not in states:
            raise UnknownInstance(f"{service} has no instance {instance[:128]!r} on the board.")
        return {instance: states[instance]}

    async def _read_known(self, known: IdempotencyRecord, digest: str) -> SentCommand:
        if known.digest != digest:
            raise IdempotencyKeyReused(known.command_id)
        record = await self.read(known.command_id)
        return SentCommand(record.command, record.cursor, record.receipts, again=True)

    def _refuse(self, request: CommandRequest, reason: str) -> Command:
        return msgspec.structs.replace(self._build(request, []), refused=reason, source="publish")

    def _build(self, request: CommandRequest, instances: list[str]) -> Command:
        now_ms = self._hub.now_ms
        return Command(
            command_id=uuid.uuid4().hex,
            service=request.service,
            command=request.command,
            instances=instances,
            args=msgspec.Raw(request.args),
            issued=now_ms,
            expires=now_ms + round(request.deadline_s * 1000),
            by=request.by,
            source="api",
            origin=request.origin,
        )


def _request_of(external: ExternalCommand) -> CommandRequest:
    return CommandRequest(
        service=external.service,
        command=external.command,
        instance=external.instance,
        args=encode(external.args),
        deadline_s=external.deadline_s,
    )


def _digest(request: CommandRequest) -> str:
    """Return a digest of everything that two equal requests share; not of the sender."""
    facts = [
        request.service,
        request.command,
        request.instance,
        request.deadline_s,
        msgspec.Raw(request.args),
    ]
    return hashlib.sha256(encode(facts)).hexdigest()


def _check(request: CommandRequest) -> None:
    check_command_name(request.command)
    try:
        check_args(request.args)
        check_raw_object(request.args)
    except InvalidEvent as error:
        kind = ArgumentsTooLarge if error.reason == "too-large" else BadArguments
        raise kind(f"{error}.") from error


def _describe(error: CommandError | InvalidEvent | BusUnavailable) -> str:
    """Return the reason of a refusal: a stable code, then the message."""
    if isinstance(error, BusUnavailable):
        return f"redis-unavailable: {error}"
    return f"{error.code if isinstance(error, CommandError) else error.reason}: {error}"


def _explain_no_listener(service: str, states: Mapping[str, State]) -> str:
    if not states:
        return f"{service} is expected, but none of its instances has been seen."
    shown = ", ".join(
        f"{service}:{instance} is {state}" if instance else f"{service} is {state}"
        for instance, state in list(states.items())[:STATES_SHOWN]
    )
    more = f", and {len(states) - STATES_SHOWN} more" if len(states) > STATES_SHOWN else ""
    return f"No instance of {service} is listening for commands ({shown}{more})."
