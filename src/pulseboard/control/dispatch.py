"""Dispatch: to which instances a command goes, and whether it may be sent at all: by the API, or by a plain publish."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from pulseboard.bus.commands.sender import CommandSender
from pulseboard.control.arguments import object_to
from pulseboard.hub.hub import Hub
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import bus_errors_as_problems, parse_service
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import check_raw_object, encode
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.command import Command, ExternalCommand, check_args
from pulseboard.wire.names import check_command_name
from pulseboard.wire.state import State

BLIND_S, BLIND_CHECK_S = 5.0, 0.2
"""For how long a plain command waits for the board to see again, and how often it looks."""

OPEN_MOST = 1_000
"""So many commands may be open at once, of all services."""

_HEARING = frozenset({State.ALIVE, State.LATE, State.SILENT})


class CommandRequest(NamedTuple):
    """What somebody wants done: by which service, or by one instance of it; `args` is the JSON of an object."""

    service: str
    command: str
    instance: str | None
    args: bytes
    deadline_s: float
    by: str = ""
    origin: str = ""


class Dispatcher:
    """Makes commands of wishes. Raises a Problem for one that nobody can fulfil."""

    def __init__(self, hub: Hub, commands: CommandSender) -> None:
        self._hub = hub
        self._commands = commands

    async def make(self, wish: CommandRequest) -> Command:
        """Return the command for those who listen at this moment."""
        parse_service(wish.service)
        _check(wish)
        if self._hub.blind is not None:
            raise Problem(
                503,
                "not-ready",
                "The board cannot see Redis, so it does not know who listens.",
                headers=[(b"retry-after", b"2")],
            )
        states = self._hub.states(wish.service)
        if not states and wish.service not in self._hub.board.expected:
            raise Problem(404, "unknown-service", f"The board knows no service {wish.service!r}.")
        if wish.instance is not None:
            if wish.instance not in states:
                raise Problem(
                    404,
                    "unknown-instance",
                    f"{wish.service} has no instance {wish.instance[:128]!r} on the board.",
                )
            states = {wish.instance: states[wish.instance]}
        hearing = [instance for instance, state in states.items() if state in _HEARING]
        with bus_errors_as_problems():
            listeners = await self._commands.read_listeners(wish.service, hearing)
        if not listeners:
            raise Problem(409, "no-listener", _explain(wish, states), states=states)
        able = {
            name: listener
            for name, listener in listeners.items()
            if wish.command in listener.commands
        }
        if not able:
            offers = sorted({name for listener in listeners.values() for name in listener.commands})
            raise Problem(
                404,
                "unknown-command",
                f"{wish.service} does not offer {wish.command!r}: it offers {', '.join(offers)}.",
                offers=offers,
            )
        schemas = (listener.commands[wish.command].args for listener in able.values())
        if (objection := object_to(wish.args, schemas)) is not None:
            raise Problem(
                422, "bad-arguments", f"{wish.command} does not take these arguments: {objection}."
            )
        with bus_errors_as_problems():
            if await self._commands.count_open_commands() >= OPEN_MOST:
                raise Problem(
                    429,
                    "too-many-open",
                    f"Of {OPEN_MOST} commands it is not known yet what became of them: wait for some of those.",
                    headers=[(b"retry-after", b"5")],
                )
        return self._make(wish, list(able))

    async def make_external(self, plain: ExternalCommand) -> Command:
        """Return the command that a plain publish asks for; where nobody can fulfil it, it says why and goes to nobody."""
        wish = _wish_of(plain)
        give_up_at = time.monotonic() + min(plain.deadline_s, BLIND_S)
        while True:
            check_cancelled()
            try:
                made = await self.make(wish)
            except Problem as problem:
                # Who publishes is told nothing, so that the board is blind for a moment is not for him to know.
                if (
                    problem.status == HTTPStatus.SERVICE_UNAVAILABLE
                    and time.monotonic() < give_up_at
                ):
                    await asyncio.sleep(BLIND_CHECK_S)
                    continue
                return self._refuse(wish, f"{problem.document['code']}: {problem}")
            return msgspec.structs.replace(made, source="publish")

    async def refuse_external(self, plain: ExternalCommand) -> Command:
        """Return the command that a plain publish asks for where none is passed on: it says so, and goes to nobody."""
        return self._refuse(
            _wish_of(plain), "command-refused: plain commands are not passed on here"
        )

    def _refuse(self, wish: CommandRequest, reason: str) -> Command:
        return msgspec.structs.replace(self._make(wish, []), refused=reason, source="publish")

    def _make(self, wish: CommandRequest, instances: list[str]) -> Command:
        now_ms = self._hub.now_ms
        return Command(
            uuid.uuid4().hex,
            wish.service,
            wish.command,
            instances,
            msgspec.Raw(wish.args),
            now_ms,
            now_ms + round(wish.deadline_s * 1000),
            wish.by,
            "api",
            wish.origin,
        )


def _wish_of(plain: ExternalCommand) -> CommandRequest:
    return CommandRequest(
        plain.service, plain.command, plain.instance, encode(plain.args), plain.deadline_s
    )


def _check(wish: CommandRequest) -> None:
    try:
        check_command_name(wish.command)
        check_args(wish.args)
        check_raw_object(wish.args)
    except InvalidEvent as error:
        too_large = error.reason == "too-large"
        code = (
            "bad-arguments"
            if error.reason in ("wrong-type", "malformed", "too-deep")
            else error.reason
        )
        raise Problem(
            413 if too_large else 422 if code == "bad-arguments" else 400, code, f"{error}."
        ) from error


def _explain(wish: CommandRequest, states: Mapping[str, State]) -> str:
    if not states:
        return f"{wish.service} is expected, and was never seen: nobody is there to do it."
    told = ", ".join(
        f"{instance or 'it'} is {state}" for instance, state in list(states.items())[:5]
    )
    more = f" and {len(states) - 5} more" if len(states) > 5 else ""
    if any(state in _HEARING for state in states.values()):
        return f"Nobody of {wish.service} listens for commands at this moment ({told}{more})."
    return f"Nobody of {wish.service} is there to do it: {told}{more}."
