"""`GET /api/board?at=`: the board as it stood at a moment, from what is kept: states, statuses, last log lines, commands in work.

What a state is judged by here is evidence: who gave a sign of life later, and was not declared lost in between, was alive.
Invariant: what nothing kept can show is `unknown`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from typing import NamedTuple

import msgspec

from pulseboard.bus.feed.entries import Entry
from pulseboard.bus.history.reader import HistoryReader, TimeRange
from pulseboard.server.api.history import PastLine, view_past_line
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import bus_errors_as_problems, parse_moment, parse_service
from pulseboard.server.runtime import Runtime
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import HistoryTrimmed
from pulseboard.wire.events.command import Command
from pulseboard.wire.events.lifecycle import Incident
from pulseboard.wire.events.log import LogFilter
from pulseboard.wire.events.receipt import Step
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import LATE_AFTER_INTERVALS, State

LINES = 5
"""So many of the last lines of each service."""
SERVICES_MOST = 200
"""So many services in one answer; for more, ask for some by name."""
AT_ONCE = 4
LOOKED_THROUGH = 1_000
"""Status events of one service that are looked through for who was there: a history holds no more by default."""
INCIDENTS_LOOKED_AT = 200
DECLARED_WITHIN_MS = 600_000
"""A loss that began before a moment may have been declared so much after it: its rhythm may be slow."""


class PastInstance(StatusEvent, frozen=True, kw_only=True, omit_defaults=False):
    """One instance as it stood: its last event before that moment, with its feed id and state."""

    state: State
    id: str


class PastCommand(msgspec.Struct):
    """A command that was in work: for each of its instances what was known of it, None where nothing was."""

    id: str
    service: str
    command: str
    args: msgspec.Raw
    issued: int
    expires: int
    steps: dict[str, Step | None]


class PastBoard(msgspec.Struct):
    """The board at a moment (ms by Redis' clock). `truncated`: there was more than is looked through for one question."""

    at: int
    instances: list[PastInstance]
    lines: list[PastLine]
    commands: list[PastCommand]
    incidents: list[Incident]
    truncated: bool


class _Around(NamedTuple):
    """Of one service: the last event of each instance by then, when each is known to have been there afterwards, its lines."""

    latest: Mapping[str, Entry]
    later: Mapping[str, int]
    lines: list[PastLine]
    truncated: bool


async def read_board_at(core: Runtime, at: str, services: str | None) -> PastBoard:
    """Return the board as it stood; raise a Problem."""
    board, at_ms = core.hub.board, parse_moment("at", at)
    if at_ms > core.hub.now_ms:
        raise Problem(
            400, "bad-time", "`at` is still to come: the board of this moment is on /api/stream."
        )
    wanted = (
        sorted({parse_service(name) for name in services.split(",") if name}) if services else None
    )
    with bus_errors_as_problems():
        names = (
            sorted({*board.services, *await core.history.list_services()})
            if wanted is None
            else wanted
        )
        if len(names) > SERVICES_MOST:
            raise Problem(
                400,
                "too-many-services",
                f"There are {len(names)} services: name at most {SERVICES_MOST} of them in `services`.",
            )
        turns = asyncio.Semaphore(AT_ONCE)
        arounds = await asyncio.gather(
            *(_look_around(core.history, turns, name, at_ms) for name in names)
        )
        past = await core.incidents.read(
            INCIDENTS_LOOKED_AT, before=Cursor(at_ms + DECLARED_WITHIN_MS, 0)
        )
        in_work, all_seen = await core.commands.read_in_progress(at_ms)
    losses = [words.incident for words in past]
    seen = board.seen()
    instances = [
        _view(
            entry,
            _judge(
                entry, max(around.later.get(name, 0), seen.get((service, name), 0)), losses, at_ms
            ),
        )
        for service, around in zip(names, arounds, strict=True)
        for name, entry in around.latest.items()
    ]
    asked = set(names)
    return PastBoard(
        at_ms,
        [view for view in instances if view is not None],
        [line for around in arounds for line in around.lines],
        [_view_command(command, steps) for command, steps in in_work if command.service in asked],
        [loss for loss in losses if loss.declared <= at_ms and loss.service in asked],
        any(around.truncated for around in arounds) or not all_seen,
    )


async def _look_around(
    history: HistoryReader, turns: asyncio.Semaphore, service: str, at_ms: int
) -> _Around:
    async with turns:
        before = await history.read(
            "status", service, LOOKED_THROUGH, time_range=TimeRange(None, at_ms)
        )
        latest: dict[str, Entry] = {}
        for entry in before:
            latest.setdefault(_instance_of(entry), entry)
        later = await _find_later(history, service, at_ms, set(latest))
        found = await history.read_lines(
            service, LINES, lines=LogFilter(), time_range=TimeRange(None, at_ms)
        )
    lines = [view_past_line(service, line) for line in reversed(found.lines)]
    return _Around(latest, later, lines, len(before) == LOOKED_THROUGH)


async def _find_later(
    history: HistoryReader, service: str, at_ms: int, instances: set[str]
) -> dict[str, int]:
    """Return when (ms) instances said something for the first time after a moment."""
    later: dict[str, int] = {}
    # What is trimmed meanwhile shows nothing, and is not asked for again.
    with suppress(HistoryTrimmed):
        async with aclosing(
            history.read_forwards("status", service, time_range=TimeRange(at_ms + 1, None))
        ) as pages:
            async for page in pages:
                for entry in page:
                    later.setdefault(_instance_of(entry), entry.cursor.ms)
                if later.keys() >= instances:
                    break
    return later


def _instance_of(entry: Entry) -> str:
    return entry.event.instance if isinstance(entry.event, StatusEvent) else ""


def _judge(entry: Entry, later_ms: int, losses: Iterable[Incident], at_ms: int) -> State:
    """Return what an instance was, by its last event before a moment and its first known sign of life afterwards (ms).

    Where there is none, that is its last sign of life of all; 0 where nobody knows.
    """
    event = entry.event
    if not isinstance(event, StatusEvent):
        raise TypeError("a status history holds status events")
    for loss in losses:
        if (loss.service, loss.instance) != (
            event.service,
            event.instance,
        ) or loss.seen < entry.cursor.ms:
            continue  # of another, or before it was heard of again
        if loss.declared <= at_ms:
            return State.LOST
        if loss.seen > at_ms:
            later_ms = max(later_ms, loss.seen)
        elif (
            event.heartbeat_s is not None
            and at_ms - loss.seen > LATE_AFTER_INTERVALS * event.heartbeat_s * 1000
        ):
            return State.LATE
        else:
            later_ms = max(later_ms, at_ms)
    if event.stopped:
        return State.STOPPED
    if event.heartbeat_s is None:
        return State.SILENT
    silence_ms = at_ms - max(later_ms, entry.cursor.ms)
    if silence_ms <= LATE_AFTER_INTERVALS * event.heartbeat_s * 1000:
        return State.ALIVE
    # Its last sign of life of all, not only the last one kept: then its silence is known to have been one.
    return State.LATE if later_ms else State.UNKNOWN


def _view(entry: Entry, state: State) -> PastInstance | None:
    event = entry.event
    if not isinstance(event, StatusEvent):
        return None
    return PastInstance(**msgspec.structs.asdict(event), state=state, id=str(entry.cursor))


def _view_command(command: Command, steps: dict[str, Step | None]) -> PastCommand:
    return PastCommand(
        id=command.command_id,
        service=command.service,
        command=command.command,
        args=command.args,
        issued=command.issued,
        expires=command.expires,
        steps=steps,
    )
