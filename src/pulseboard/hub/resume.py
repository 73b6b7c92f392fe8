"""Resume: a client that returns receives the events that it missed, from the ring or from Redis.

If neither has all of them, the client receives a `reset` with the reason, and the board.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from pulseboard.bus.feed.entries import Entry
from pulseboard.hub.connection import Connection
from pulseboard.hub.frames import event_frame
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable

if TYPE_CHECKING:
    from pulseboard.hub.hub import Hub

MAX_EVENTS = 10_000
"""A client that missed more events receives the board, which takes less time to read."""
AHEAD_S = 2.0
"""How far another server may be ahead of this one in reading the feed."""

NOT_YET = "the server has not reached Redis yet"
UNKNOWN = "the events after the last one that the client received are no longer kept"
TOO_MANY = f"the client missed more than {MAX_EVENTS} events"
LOST = "Redis lost events while they were read again"
CLOSING = "the server is closing"
UNREACHABLE = "the missed events cannot be read from Redis"

log = logging.getLogger("pulseboard.hub")


class Replay(Protocol):
    """Reads the past of the feed (`bus.feed.replay.FeedReplay`)."""

    async def read(self, since: Cursor, bound: Cursor) -> tuple[list[Entry], Cursor] | None:
        """Return a page of events after `since`, and its end; None if some of them are gone."""


async def resume(hub: "Hub", replay: Replay, connection: Connection, since: Cursor) -> bool:
    """Bring a connection up to a position in the ring, or make it await the board.

    Returns False if its client read nothing for the hub's write deadline; it is aborted then.
    """
    try:
        # The time until Redis answers is unknown, so the first byte does not wait for it.
        reason = await _resume(hub, replay, connection, since) if hub.epoch else NOT_YET
    except BusUnavailable as error:
        log.info("could not read the events that a client missed: %s", error)
        reason = UNREACHABLE
    except TimeoutError:
        log.info("closed a client that read nothing of the events that it had missed")
        connection.abort()
        return False
    if reason is not None:
        connection.await_board(reason)
    return True


async def _resume(hub: "Hub", replay: Replay, connection: Connection, since: Cursor) -> str | None:
    """Give a connection the events that it missed; return the reason why not, or None."""
    if since > hub.cursor:
        # The client was at a server that is slightly ahead of this one, or Redis has lost data.
        if not await _wait_until_read(hub, replay, since):
            return UNKNOWN
        if (position := hub.ring.find(since)) is not None:
            hub.write_liveness(connection, since)
            connection.follow(position)
            return None
    epoch, bound, position = hub.epoch, hub.cursor, hub.ring.end
    connection.start_resuming(hub.ring.mark(position, connection.view.choice))
    cursor, count = since, 0
    while cursor < bound:
        # Waiting comes first, so that nothing is read for a client that reads nothing.
        await _wait_for_room(hub, connection)
        if hub.closing:
            break
        page = await replay.read(cursor, bound)
        if page is None:
            return UNKNOWN if cursor == since else LOST
        if cursor == since:
            hub.write_liveness(connection, since)
        entries, cursor = page
        count += len(entries)
        if count > MAX_EVENTS:
            return TOO_MANY
        _write(connection, entries)
    if hub.closing:
        return CLOSING
    if hub.epoch != epoch:
        return LOST
    if count:
        # The client did not know instances that appeared in the missed events when it received
        # the first heartbeats.
        hub.write_liveness(connection, bound)
    connection.follow(position)
    return None


async def _wait_until_read(hub: "Hub", replay: Replay, since: Cursor) -> bool:
    """Return whether the feed has this entry, and this server reads it in time."""
    is_in_feed = await replay.read(since, since) is not None
    return is_in_feed and await hub.wait_for_cursor(since, AHEAD_S)


async def _wait_for_room(hub: "Hub", connection: Connection) -> None:
    """Wait until a connection can take more, or the hub closes.

    Raises TimeoutError if its client reads nothing for the write deadline.
    """
    if connection.has_room():
        return
    async with asyncio.timeout(hub.options.write_deadline_s):
        while not (connection.has_room() or hub.closing):
            await connection.wait_for_room()


def _write(connection: Connection, entries: Iterable[Entry]) -> None:
    picked = (connection.view.pick(event_frame(entry)) for entry in entries)
    if data := b"".join(frame for frame in picked if frame is not None):
        connection.sink.write(connection.sink.framing(data))
