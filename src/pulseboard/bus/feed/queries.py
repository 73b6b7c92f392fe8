"""The Redis commands of a feed reader, and the parsing of their answers, without state."""

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
"""Entries of each stream that one read returns at most."""
RECENT_MAX = 2_000
RECENT_MAX_BYTES = 4 * 1024 * 1024
"""The past that a server reads when it starts.

After a restart all its clients reconnect at the same time, and resume from this past.
"""


class FeedRead(NamedTuple):
    """The answer to one XREAD, and the position after it."""

    entries: list[Entry]
    heartbeats: list[Heartbeat]
    position: FeedPosition
    observed_until_ms: int | None
    """Everything up to this time, by Redis' clock, was read; None when nothing was new."""


class Origin(NamedTuple):
    """The start of Redis (ms by its clock), and the id of the node it was promoted from."""

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
        """Return what follows a position; wait for up to `block_ms` when there is nothing."""
        answer = await self._client.execute_command(  # type: ignore[no-untyped-call]
            *("XREAD", "COUNT", COUNT, "BLOCK", block_ms),
            *("STREAMS", self._keys.feed, self._keys.heartbeats),
            *(str(position.cursor), str(position.heartbeats)),
        )
        cursor, heartbeat_cursor, added = position
        entries: list[Entry] = []
        heartbeats: list[Heartbeat] = []
        complete: list[int] = []
        cut: list[int] = []
        for key, rows in answer or []:
            last = Cursor.parse(rows[-1][0])
            (cut if len(rows) >= COUNT else complete).append(last.ms)
            if key.decode() == self._keys.heartbeats:
                heartbeat_cursor = last
                heartbeats.extend(map(parse_heartbeat, rows))
            else:
                cursor = last
                added += len(rows)
                entries.extend(self._parse_entries(rows))
        # Nothing is known of the time after the last entry of an answer that was cut at COUNT.
        observed_until = min(cut) if cut else max(complete, default=None)
        return FeedRead(
            entries, heartbeats, FeedPosition(cursor, heartbeat_cursor, added), observed_until
        )

    async def read_snapshot(self, reason: str, since_ms: int) -> tuple[Reset, FeedPosition]:
        """Return the whole board, and the position at which it was true.

        `since_ms` is the time from which the silence of an instance counts.
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

        For a reader that was away: the heartbeats that it missed may be trimmed.
        """
        # The position is read first: heartbeats that follow it are read twice, which does no harm.
        latest: Any = await self._client.xrevrange(self._keys.heartbeats, count=1)
        seen: Any = await self._client.hgetall(self._keys.seen)
        return _parse_last_seen(seen), Cursor.parse(latest[0][0]) if latest else ZERO

    async def is_continuous(self, position: FeedPosition) -> bool:
        """Return whether the feed still has everything that follows a position."""
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
        """Return whether an entry of the heartbeat stream is not trimmed yet."""
        return bool(await self._client.xrange(self._keys.heartbeats, str(cursor), str(cursor)))

    async def check_writable(self) -> None:
        """Raise the error of Redis when it accepts no writes.

        It can then be read, but receives nothing from the services.
        """
        await self._client.set(self._keys.probe, "", px=PROBE_TTL_MS)

    async def read_origin(self, now_ms: int) -> Origin:
        """Return since when Redis is up, and its origin; 0 and "" where Redis does not say.

        Before it was up, it could receive no heartbeat.
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
