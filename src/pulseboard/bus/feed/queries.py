"""The Redis commands of a feed reader, and the parsing of their answers.

The feed reader keeps the position; this module keeps no state.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import redis
import redis.asyncio

from pulseboard.bus.feed.entries import (
    INCIDENTS_SHOWN,
    Entry,
    Heartbeat,
    Reset,
    Row,
    format_entry_name,
    parse_feed_entry,
    parse_heartbeat,
    parse_incident_entry,
    parse_rows,
    parse_stamped_status,
    parse_times,
)
from pulseboard.bus.feed.position import FeedPosition
from pulseboard.bus.keys import PROBE_TTL_MS, Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import ZERO, Cursor

COUNT = 500
"""The maximum number of entries that one read returns from each stream."""
RECENT_MAX = 2_000
RECENT_MAX_BYTES = 4 * 1024 * 1024
"""The recent events (count and bytes) that a snapshot contains at most.

All clients of a server that was restarted reconnect at the same time, and each receives the events
that it missed from these recent ones.
"""


class FeedRead(NamedTuple):
    """The answer to one XREAD, and the position after it."""

    entries: list[Entry]
    heartbeats: list[Heartbeat]
    position: FeedPosition
    observed_until_ms: int | None
    """All entries up to this time (ms by Redis' clock) were read; None without a new entry."""


class Origin(NamedTuple):
    """When Redis started (ms by its clock), and the replication id of the master before it.

    A failover changes `replication_id`: it is the id of the master that this node has replaced.
    """

    up_since_ms: int
    replication_id: str


class FeedQueries:
    """Reads the feed, the heartbeats and the snapshot through one client."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys,
        rejections: Rejections,
        max_event_bytes: int,
    ) -> None:
        self._client = client
        self._keys = keys
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes

    async def read_next(self, position: FeedPosition, block_ms: int) -> FeedRead:
        """Return the entries after a position; if there is none, wait for one, up to `block_ms`."""
        answer = await self._client.execute_command(  # type: ignore[no-untyped-call]
            *("XREAD", "COUNT", COUNT, "BLOCK", block_ms),
            *("STREAMS", self._keys.feed, self._keys.heartbeats),
            *(str(position.cursor), str(position.heartbeats)),
        )
        cursor, heartbeat_cursor, added = position
        entries: list[Entry] = []
        heartbeats: list[Heartbeat] = []
        last_of_complete: list[int] = []
        last_of_cut: list[int] = []
        for key, rows in answer or []:
            last = Cursor.parse(rows[-1][0])
            (last_of_cut if len(rows) >= COUNT else last_of_complete).append(last.ms)
            if key.decode() == self._keys.heartbeats:
                heartbeat_cursor = last
                heartbeats.extend(map(parse_heartbeat, rows))
            else:
                cursor = last
                added += len(rows)
                entries.extend(self._parse_entries(rows))
        # If Redis cut an answer at COUNT, the stream may have more entries after the last one read.
        observed_until = min(last_of_cut) if last_of_cut else max(last_of_complete, default=None)
        return FeedRead(
            entries, heartbeats, FeedPosition(cursor, heartbeat_cursor, added), observed_until
        )

    async def read_snapshot(self, reason: str, since_ms: int) -> tuple[Reset, FeedPosition]:
        """Return the whole board, and the position in the feed and the heartbeats that it shows.

        `since_ms` is the time from which the silence of an instance counts: before it, Redis may
        not have received heartbeats.
        """
        keys = (*self._keys.shared, self._keys.heartbeats, self._keys.incidents)
        answer: Any = await self._client.eval(
            read_script("snapshot"), len(keys), *keys, INCIDENTS_SHOWN, RECENT_MAX, RECENT_MAX_BYTES
        )
        feed_id, heartbeat_id, added, observed_until, board, seen, lost, incidents, recent = answer
        position = FeedPosition(Cursor.parse(feed_id), Cursor.parse(heartbeat_id), added)
        reset = Reset(
            reason,
            position.cursor,
            sorted(self._parse_board(board[1::2]), key=lambda entry: entry.cursor),
            _parse_last_seen(seen),
            parse_times(lost),
            list(
                self._rejections.sift(
                    parse_rows(incidents), parse_incident_entry, lambda _: "the incidents stream"
                )
            ),
            list(self._parse_entries(parse_rows(recent[::-1]))),
            observed_until,
            since_ms,
        )
        return reset, position

    async def read_last_seen(self) -> tuple[list[Heartbeat], Cursor]:
        """Return the last sign of life of each instance, and a position in the heartbeat stream.

        A reader that was disconnected calls this, because Redis may have trimmed the heartbeats
        that the reader missed.
        """
        # Read the position first: then a heartbeat between both commands is read twice, not missed.
        latest: Any = await self._client.xrevrange(self._keys.heartbeats, count=1)
        seen: Any = await self._client.hgetall(self._keys.seen)
        return _parse_last_seen(seen), Cursor.parse(latest[0][0]) if latest else ZERO

    async def is_continuous(self, position: FeedPosition) -> bool:
        """Return whether the feed still has every entry that was added after a position."""
        return bool(
            await self._client.eval(
                read_script("is_continuous"),
                1,
                self._keys.feed,
                str(position.cursor),
                position.entries_added,
            )
        )

    async def has_heartbeat(self, cursor: Cursor) -> bool:
        """Return whether the heartbeat stream still has the entry with this id."""
        return bool(await self._client.xrange(self._keys.heartbeats, str(cursor), str(cursor)))

    async def check_writable(self) -> None:
        """Raise the error that Redis returns if it accepts no writes.

        Such a Redis can be read, but it refuses the events and heartbeats of the services.
        """
        await self._client.set(self._keys.probe, "", px=PROBE_TTL_MS)

    async def read_origin(self, now_ms: int) -> Origin:
        """Return when Redis started, and the replication id of the master before it.

        Redis received no heartbeat before its start. The result is 0 and "" if Redis does not
        report these values.
        """
        try:
            uptime_s = int((await self._client.info("server"))["uptime_in_seconds"])
            replication = await self._client.info("replication")
        except (redis.ResponseError, KeyError):  # The user's rights (ACL) do not include INFO.
            return Origin(0, "")
        return Origin(now_ms - uptime_s * 1000, str(replication.get("master_replid2", "")))

    def _parse_entries(self, rows: Iterable[Row]) -> Iterable[Entry]:
        return self._rejections.sift(
            rows, lambda row: parse_feed_entry(row, self._max_event_bytes), format_entry_name
        )

    def _parse_board(self, jsons: Iterable[bytes]) -> Iterable[Entry]:
        return self._rejections.sift(
            jsons,
            lambda json: Entry(*parse_stamped_status(json, self._max_event_bytes)),
            lambda _: "the board hash",
        )


def _parse_last_seen(flat: list[bytes] | dict[bytes, bytes]) -> list[Heartbeat]:
    return [Heartbeat(*instance, ms) for instance, ms in parse_times(flat).items()]
