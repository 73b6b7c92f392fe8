"""snapshot.lua, is_continuous.lua and replay.lua: where a reader may start and continue."""

import json
from typing import Any

import redis
from tests.support.bus import event, outgoing

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.feed.replay import FeedReplay
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.events.status import StatusEvent


def snapshot(raw: redis.Redis, keys: Keys) -> list[Any]:
    names = (*keys.shared, keys.heartbeats, keys.incidents)
    answer: list[Any] = raw.eval(read_script("snapshot"), len(names), *names, 20, 100, 100_000)
    return answer


def test_snapshot_of_empty_redis_has_the_zero_cursor(raw: redis.Redis, keys: Keys) -> None:
    feed_id, heartbeats_id, added, now_ms, *rest = snapshot(raw, keys)
    assert (feed_id, heartbeats_id, added, rest) == (b"0-0", b"0-0", 0, [[], [], [], [], []])
    assert now_ms > 1_700_000_000_000


def test_snapshot_has_the_cursor_of_the_last_event_on_its_board(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    cursors = publisher.publish([outgoing(n=n) for n in range(5)])
    publisher.heartbeat("balance-sync", "w-1")
    feed_id, heartbeats_id, added, _, board, seen, lost, incidents, recent = snapshot(raw, keys)
    assert [row[0].decode() for row in recent] == [str(cursor) for cursor in cursors[::-1]]
    assert Cursor.parse(feed_id) == cursors[-1]
    assert json.loads(board[1])["id"] == feed_id.decode()
    assert seen == [b"balance-sync/w-1", heartbeats_id.partition(b"-")[0]]
    assert (added, lost, incidents) == (5, [], [])
    raw.xtrim(keys.feed, maxlen=0, approximate=False)
    assert snapshot(raw, keys)[0] == feed_id, "a feed whose entries expired keeps its position"


def is_continuous(raw: redis.Redis, keys: Keys, cursor: object, added: int = 0) -> bool:
    """Return whether a reader may continue after `cursor`, when `added` entries existed."""
    return bool(raw.eval(read_script("is_continuous"), 1, keys.feed, str(cursor), str(added)))


def test_reader_may_continue_where_no_entry_is_missing(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    assert is_continuous(raw, keys, ZERO)
    cursors = publisher.publish([outgoing(n=n) for n in range(5)])
    assert is_continuous(raw, keys, ZERO)
    for n, cursor in enumerate(cursors, 1):
        assert is_continuous(raw, keys, cursor, n)
    raw.xtrim(keys.feed, maxlen=2, approximate=False)
    assert not is_continuous(raw, keys, ZERO), "the first three were never read"
    assert not is_continuous(raw, keys, cursors[1], 2), "the third was never read"
    assert is_continuous(raw, keys, cursors[3], 4)
    raw.xtrim(keys.feed, maxlen=0, approximate=False)
    assert is_continuous(raw, keys, cursors[4], 5), "every entry was read before it expired"


def test_reader_may_not_continue_in_other_data(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    first = publisher.publish([outgoing(n=n) for n in range(5)])
    raw.delete(keys.feed)
    assert not is_continuous(raw, keys, first[-1], 5)
    while redis_ms(raw) <= first[-1].ms:  # otherwise ids would repeat
        pass
    publisher.publish([outgoing(n=n) for n in range(7)])
    assert not is_continuous(raw, keys, first[-1], 5)
    assert not is_continuous(raw, keys, Cursor(2**62, 0), 5), (
        "a failover lost the entries that were read"
    )


def redis_ms(raw: redis.Redis) -> int:
    seconds, microseconds = raw.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def test_feed_that_was_lost_and_refilled_is_detected_by_its_count(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    """A reader read 5 entries, the feed was flushed, and it read 7 newer ones.

    Its count of 12 does not match, so it must not continue as if no entry was missing.
    """
    publisher.publish([outgoing(n=n) for n in range(5)])
    raw.delete(keys.feed)
    second = publisher.publish([outgoing(n=n) for n in range(7)])
    assert not is_continuous(raw, keys, second[-1], 5 + 7)


def replay(
    raw: redis.Redis,
    keys: Keys,
    since: object,
    bound: object,
    count: int = 100,
    max_bytes: int = 100_000,
) -> list[str] | None:
    answer: Any = raw.eval(
        read_script("replay"), 1, keys.feed, str(since), str(bound), count, max_bytes
    )
    return [row[0].decode() for row in answer[1]] if answer[0] else None


def test_replay_returns_the_events_up_to_its_bound_or_nothing(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    cursors = publisher.publish([outgoing(n=n) for n in range(6)])
    ids = [str(cursor) for cursor in cursors]
    assert replay(raw, keys, ids[1], ids[4]) == ids[2:5]
    assert replay(raw, keys, ids[1], ids[4], count=2) == ids[2:4]
    assert replay(raw, keys, ids[5], ids[5]) == []
    assert replay(raw, keys, "1-1", ids[5]) is None, "an unknown id"
    raw.xtrim(keys.feed, maxlen=3, approximate=False)
    assert replay(raw, keys, ids[1], ids[5]) is None, "the third is gone"
    assert replay(raw, keys, ids[3], ids[5]) == ids[4:]


def test_page_of_a_replay_is_bounded_in_bytes_and_has_at_least_one_event(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    ids = [str(cursor) for cursor in publisher.publish([outgoing(n=n) for n in range(6)])]
    size = len(event(n=1)) + len("kindstatusdata")
    assert replay(raw, keys, ids[0], ids[5], max_bytes=3 * size) == ids[1:4]
    assert replay(raw, keys, ids[0], ids[5], max_bytes=1) == ids[1:2]


async def test_feed_replay_returns_large_and_small_events_in_bounded_pages(
    publisher: Publisher, bus: BusClient
) -> None:
    cursors = publisher.publish([outgoing(instance="x" * (n % 100), n=n) for n in range(60)])
    cursors += publisher.publish(
        [Outgoing("a", "", event("a", "", status={"x": "y" * 30_000})) for _ in range(5)]
    )
    replay, entries, position = FeedReplay(bus, Rejections()), [], cursors[0]
    while position < cursors[-1]:
        page = await replay.read(position, cursors[-1])
        assert page is not None
        entries += page[0]
        assert (
            sum(
                len(bytes(entry.event.status))
                for entry in page[0]
                if isinstance(entry.event, StatusEvent)
            )
            < 65_536
        )
        position = page[1]
    assert [entry.cursor for entry in entries] == cursors[1:]
