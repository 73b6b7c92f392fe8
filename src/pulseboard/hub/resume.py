"""Catching up: a reader that comes back after the ring let go of what it missed gets it from Redis, else a reset."""

import asyncio
import logging
from collections.abc import Iterable

from pulseboard.bus.feed.entries import Entry
from pulseboard.bus.feed.replay import FeedReplay
from pulseboard.hub.connection import Connection
from pulseboard.hub.frames import event_frame
from pulseboard.hub.hub import Hub
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable

MAX_EVENTS = 10_000
"""Whoever missed more is told so and gets the board: it would take longer to read it all than to see what is the case."""
AHEAD_S = 2.0
"""How far another server may be ahead of this one in reading the feed."""

NOT_YET = "the server has not seen Redis yet"
UNKNOWN = "what followed the last message that was seen is no longer held"
TOO_MUCH = f"more than {MAX_EVENTS} messages were missed"
BROKEN = "Redis lost events while they were being read again"
CLOSING = "the server is closing"
AWAY = "what was missed cannot be read from Redis"

log = logging.getLogger("pulseboard.hub")


async def catch_up(hub: Hub, replay: FeedReplay, connection: Connection, since: Cursor) -> None:
    """Serve a connection that `Hub.join` could not: replay from Redis what it missed, or begin with a reset and the board.

    Returns early when the reader takes nothing for the hub's write deadline; its sink is aborted then.
    """
    try:
        with hub.arriving(connection):
            # Nobody knows when Redis will come: that is not to be waited for with the first byte.
            connection.reason = (
                await _replay(hub, replay, connection, since) if hub.epoch else NOT_YET
            )
    except BusUnavailable as error:
        log.info("a reader could not be brought up to date: %s", error)
        connection.reason = AWAY
    except TimeoutError:
        log.info("let go of a reader that took nothing of what it had missed")
        connection.sink.abort()
        return
    connection.fresh = connection.reason is not None
    hub.enter(connection)


async def _replay(
    hub: Hub, replay: FeedReplay, connection: Connection, since: Cursor
) -> str | None:
    """Give a connection what it missed up to a position in the ring, which it then has; return why not, or None."""
    if since > hub.cursor:
        # It comes from a server that is a moment ahead of this one, or from data that Redis has lost.
        if await replay.read(since, since) is None or not await hub.reach(since, AHEAD_S):
            return UNKNOWN
        if (position := hub.ring.find(since)) is not None:
            hub.greet_back(connection, since)
            connection.position = position
            return None
    epoch, bound, cursor = hub.epoch, hub.cursor, since
    connection.position = hub.ring.end
    connection.mark = hub.ring.mark(connection.position, connection.view.choice)
    read = 0
    while cursor < bound:
        # First, so that for one who takes nothing nothing is read.
        await _wait_for_room(hub, connection)
        if hub.closing:
            break
        page = await replay.read(cursor, bound)
        if page is None:
            return UNKNOWN if cursor == since else BROKEN
        if cursor == since:
            hub.greet_back(connection, since)
        entries, cursor = page
        read += len(entries)
        if read > MAX_EVENTS:
            return TOO_MUCH
        _write(connection, entries)
    if hub.closing:
        return CLOSING
    if hub.epoch != epoch:
        return BROKEN
    if read:
        # Who appeared in what was missed was nobody that the reader knew when it was told who is alive.
        hub.greet_back(connection, bound)
    return None


async def _wait_for_room(hub: Hub, connection: Connection) -> None:
    """Wait until a connection can take more, or the hub closes; raise TimeoutError when it takes nothing for too long."""
    async with asyncio.timeout(hub.options.write_deadline_s):
        while not connection.sink.writable and not hub.closing:
            connection.woken.clear()
            await connection.woken.wait()


def _write(connection: Connection, entries: Iterable[Entry]) -> None:
    picked = (connection.view.pick(event_frame(entry)) for entry in entries)
    if data := b"".join(frame for frame in picked if frame is not None):
        connection.sink.write(connection.sink.framing(data))
