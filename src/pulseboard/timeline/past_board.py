"""The board at a past moment: states, statuses, last log lines, commands in progress."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

import msgspec

from pulseboard.bus.commands.sender import CommandSender
from pulseboard.bus.feed.entries import Entry
from pulseboard.bus.history.incidents import IncidentStore
from pulseboard.bus.history.reader import HistoryReader, TimeRange
from pulseboard.hub.hub import Hub
from pulseboard.timeline.errors import FutureMoment, TooManyServices
from pulseboard.timeline.evidence import judge_past
from pulseboard.timeline.logs import PastLine, to_past_line
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import HistoryTrimmed
from pulseboard.wire.events.command import Command
from pulseboard.wire.events.lifecycle import Incident
from pulseboard.wire.events.log import LogFilter
from pulseboard.wire.events.receipt import Step
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import State

LINES_PER_SERVICE = 5
SERVICES_MAX = 200
"""Services in one answer. A client that wants more asks for them by name."""
CONCURRENT_SERVICES = 4
EVENTS_READ = 1_000
"""Status events of one service that are searched for its instances.

By default, a history holds no more.
"""
INCIDENTS_READ = 200
DECLARED_WITHIN_MS = 600_000
"""How long after the moment a loss that had begun may be declared.

It depends on the heartbeat interval, which may be long.
"""


class PastInstance(StatusEvent, frozen=True, kw_only=True, omit_defaults=False):
    """One instance as it stood: its last event before that moment, with its feed id and state."""

    state: State
    id: str


class PastCommand(msgspec.Struct):
    """A command in progress.

    `steps`: the last receipt of each instance by then, None before the first.
    """

    id: str
    service: str
    command: str
    args: msgspec.Raw
    issued: int
    expires: int
    steps: dict[str, Step | None]


class PastBoard(msgspec.Struct):
    """The board at a moment (ms by Redis' clock).

    `truncated`: a search limit was reached, so parts may be missing.
    """

    at: int
    instances: list[PastInstance]
    lines: list[PastLine]
    commands: list[PastCommand]
    incidents: list[Incident]
    truncated: bool


class _ServiceAtMoment(NamedTuple):
    """The stored events and log lines of one service around the moment."""

    latest: Mapping[str, Entry]
    """The last event of each instance by the moment."""
    next_ms: Mapping[str, int]
    """The time of the first event of an instance after the moment."""
    lines: list[PastLine]
    truncated: bool


class PastBoardReader:
    """Reads the board as it stood at a moment. Raises TimelineError and BusUnavailable."""

    def __init__(
        self, hub: Hub, history: HistoryReader, incidents: IncidentStore, commands: CommandSender
    ) -> None:
        self._hub = hub
        self._history = history
        self._incidents = incidents
        self._commands = commands

    async def read(self, at_ms: int, services: Sequence[str] | None = None) -> PastBoard:
        """Return the board at a moment, of all services or of some."""
        if at_ms > self._hub.now_ms:
            raise FutureMoment("`at` is in the future: ask for a moment that has passed.")
        names = await self._list_services() if services is None else sorted(set(services))
        if len(names) > SERVICES_MAX:
            raise TooManyServices(
                f"There are {len(names)} services: name at most {SERVICES_MAX} in `services`."
            )
        slots = asyncio.Semaphore(CONCURRENT_SERVICES)
        moments = await asyncio.gather(*(self._read_service(slots, name, at_ms) for name in names))
        kept = await self._incidents.read(
            INCIDENTS_READ, before=Cursor(at_ms + DECLARED_WITHIN_MS, 0)
        )
        losses = [each.incident for each in kept]
        commands, all_commands_read = await self._commands.read_in_progress(at_ms)
        return PastBoard(
            at=at_ms,
            instances=self._judge_instances(moments, losses, at_ms),
            lines=[line for moment in moments for line in moment.lines],
            commands=[
                _to_past_command(command, steps)
                for command, steps in commands
                if command.service in names
            ],
            incidents=[loss for loss in losses if loss.declared <= at_ms and loss.service in names],
            truncated=any(moment.truncated for moment in moments) or not all_commands_read,
        )

    async def _list_services(self) -> list[str]:
        return sorted({*self._hub.board.services, *await self._history.list_services()})

    async def _read_service(
        self, slots: asyncio.Semaphore, service: str, at_ms: int
    ) -> _ServiceAtMoment:
        history, until_moment = self._history, TimeRange(None, at_ms)
        async with slots:
            events = await history.read("status", service, EVENTS_READ, time_range=until_moment)
            latest: dict[str, Entry] = {}
            for entry in events:
                if isinstance(entry.event, StatusEvent):
                    latest.setdefault(entry.event.instance, entry)
            next_ms = await self._find_next_events(service, at_ms, set(latest))
            found = await history.read_lines(
                service, LINES_PER_SERVICE, lines=LogFilter(), time_range=until_moment
            )
        lines = [to_past_line(service, line) for line in reversed(found.lines)]
        return _ServiceAtMoment(latest, next_ms, lines, len(events) == EVENTS_READ)

    async def _find_next_events(
        self, service: str, at_ms: int, instances: set[str]
    ) -> dict[str, int]:
        """Return the time (ms) of the first event after the moment of each instance with one."""
        next_ms: dict[str, int] = {}
        pages = self._history.read_forwards(
            "status", service, time_range=TimeRange(at_ms + 1, None)
        )
        # Events that are trimmed during the search are no evidence, and it is not worth a
        # repetition.
        with suppress(HistoryTrimmed):
            async with aclosing(pages):
                async for page in pages:
                    for entry in page:
                        if isinstance(entry.event, StatusEvent):
                            next_ms.setdefault(entry.event.instance, entry.cursor.ms)
                    if next_ms.keys() >= instances:
                        break
        return next_ms

    def _judge_instances(
        self, moments: Sequence[_ServiceAtMoment], losses: Sequence[Incident], at_ms: int
    ) -> list[PastInstance]:
        seen_ms = self._hub.board.last_seen()
        judged: list[PastInstance] = []
        for moment in moments:
            for name, entry in moment.latest.items():
                event = entry.event
                if not isinstance(event, StatusEvent):
                    continue
                known = (moment.next_ms.get(name), seen_ms.get((event.service, name)))
                sign_ms = max((ms for ms in known if ms is not None), default=None)
                state = judge_past(event, entry.cursor.ms, sign_ms, losses, at_ms)
                facts = msgspec.structs.asdict(event)
                judged.append(PastInstance(**facts, state=state, id=str(entry.cursor)))
        return judged


def _to_past_command(command: Command, steps: dict[str, Step | None]) -> PastCommand:
    return PastCommand(
        id=command.command_id,
        service=command.service,
        command=command.command,
        args=command.args,
        issued=command.issued,
        expires=command.expires,
        steps=steps,
    )
