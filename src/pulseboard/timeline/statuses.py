"""The status history of a service: its latest events page by page, or all of a time range."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import msgspec

from pulseboard.bus.feed.entries import Entry
from pulseboard.bus.history.reader import HistoryReader, TimeRange
from pulseboard.hub.hub import Hub
from pulseboard.timeline.errors import NoHistory
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.status import StatusEvent


class PastStatus(StatusEvent, frozen=True, kw_only=True):
    """A status event with its feed id."""

    id: str


class StatusPage(msgspec.Struct):
    """Status events, oldest first.

    `before`: pass this id to get the next older page; None if there are no older events.
    """

    events: list[PastStatus]
    before: str | None


async def read_statuses(
    history: HistoryReader,
    service: str,
    time_range: TimeRange,
    *,
    before: Cursor | None,
    limit: int,
) -> StatusPage:
    """Return the latest `limit` status events of a service that are older than `before`."""
    found = await history.read("status", service, limit, time_range=time_range, before=before)
    events = _to_past_statuses(reversed(found))
    return StatusPage(events, events[0].id if len(found) == limit else None)


async def iterate_statuses(
    history: HistoryReader, service: str, time_range: TimeRange
) -> AsyncGenerator[list[PastStatus], None]:
    """Yield all status events of a service within a time range, oldest first."""
    async with aclosing(history.read_forwards("status", service, time_range=time_range)) as pages:
        async for page in pages:
            yield _to_past_statuses(page)


async def check_service_known(
    hub: Hub, history: HistoryReader, service: str, found: Sequence[object] = ()
) -> None:
    """Raise NoHistory for a service that is neither on the board nor in any history.

    The client has probably misspelled the name. `found`: the result of a query for the service; a
    result that is not empty proves that the service is known.
    """
    if found or service in hub.board.expected or hub.states(service):
        return
    if not await history.has_history(service):
        raise NoHistory(f"No service {service!r} is on the board, and it has no history.")


def _to_past_statuses(entries: Iterable[Entry]) -> list[PastStatus]:
    return [
        PastStatus(**msgspec.structs.asdict(entry.event), id=str(entry.cursor))
        for entry in entries
        if isinstance(entry.event, StatusEvent)
    ]
