"""The Redis scripts: what one step writes, its caps, and what each tells."""

import json
import logging
from typing import Any

import pytest
import redis
from tests.bus.conftest import event, history, outgoing
from tests.conftest import free_port

import pulseboard.bus.keys as limits
from pulseboard.bus.address import RedisAddress
from pulseboard.bus.janitor import Janitor
from pulseboard.bus.keys import Keys, board_field
from pulseboard.bus.publisher import Publisher
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import BusUnavailable, ConfigError


def publish(raw: redis.Redis, keys: Keys, prefix: str, jsons: list[bytes], **changed: int) -> list[str]:
    """Run publish.lua for events of w-1, w-2, … with limits of the caller's own."""
    caps = {"feed_max": 1_000, "feed_max_age_ms": 3_600_000, "history_max": 100, "history_ttl_s": 60, "board_max": 10}
    args: list[Any] = [*(caps | changed).values()]
    for number, json_ in enumerate(jsons, 1):
        args += [f"{prefix}balance-sync", board_field("balance-sync", f"w-{number}"), json_]
    names = [keys.feed, keys.board] + [keys.history("balance-sync")] * len(jsons)
    ids: Any = raw.eval(read_script("publish"), len(names), *names, *args)
    return [id.decode() for id in ids]


def test_one_publish_reaches_feed_history_board_and_channel_under_one_id(
    publisher: Publisher, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    pubsub: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.psubscribe(f"{prefix}*")
        pubsub.get_message(timeout=5)
        (cursor,) = publisher.publish([outgoing(n=7)])
        message = pubsub.get_message(timeout=5)

    (feed,) = raw.xrange(keys.feed) or []
    (past,) = raw.xrange(keys.history("balance-sync")) or []
    assert feed == (str(cursor).encode(), {b"kind": b"status", b"data": event(n=7)})
    assert past == (str(cursor).encode(), {b"data": event(n=7)})
    stamped = event(n=7)[:-1] + b',"id":"%s"}' % str(cursor).encode()
    assert raw.hgetall(keys.board) == {b"balance-sync/w-1": stamped}
    assert message is not None
    assert (message["channel"], message["data"]) == (f"{prefix}balance-sync".encode(), stamped)
    assert json.loads(stamped)["id"] == str(cursor)


def calls_of_scripts(raw: redis.Redis) -> int:
    commands: Any = raw.info("commandstats")
    calls: int = commands["cmdstat_evalsha"]["calls"]
    return calls


def test_many_events_go_in_one_round_trip_in_their_order(
    publisher: Publisher, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    publisher.publish([outgoing()])  # the connection and the script are there
    before = calls_of_scripts(raw)
    cursors = publisher.publish([outgoing(instance=f"w-{n % 3}", n=n) for n in range(100)])
    assert calls_of_scripts(raw) == before + 1
    assert cursors == sorted(set(cursors))
    assert len(cursors) == 100
    assert [status["n"] for status in history(raw, keys)] == [0, *range(100)]
    board: Any = raw.hgetall(keys.board)
    latest = {name.decode(): json.loads(value)["status"]["n"] for name, value in board.items()}
    assert latest == {f"balance-sync/w-{n}": 99 - (99 - n) % 3 for n in range(3)}


def test_all_keys_share_one_hash_tag_so_that_scripts_run_on_a_cluster(keys: Keys) -> None:
    names = [keys.feed, keys.beats, keys.board, keys.history("x"), keys.adopted("d"), keys.adopter("s")]
    assert {name[: name.index("}") + 1] for name in names} == {f"{{{keys.namespace}}}"}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("namespace", ["", "a}b", "a b", "x" * 65, "a\n", "{a}"])
def test_a_namespace_that_would_break_the_hash_tag_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError):
        Keys(namespace)


def test_feed_and_history_are_capped_by_count(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    for _ in range(10):
        publish(raw, keys, prefix, [event(n=n) for n in range(100)], feed_max=200, history_max=100)
    # "~" lets Redis keep up to one node of 100 entries more.
    assert 200 <= raw.xlen(keys.feed) <= 300
    assert 100 <= raw.xlen(keys.history("balance-sync")) <= 200


def test_the_feed_is_capped_by_age_on_redis_clock(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    for n in range(300):
        raw.xadd(keys.feed, {"kind": "status", "data": event(n=n)}, id=f"1000-{n + 1}")
    publish(raw, keys, prefix, [event()], feed_max=100_000)
    assert raw.xlen(keys.feed) <= 101


def test_a_noisy_service_can_not_evict_the_history_of_a_quiet_one(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    publisher.publish([outgoing("quiet", n=1)])
    for _ in range(12):
        publisher.publish([outgoing("noisy", n=n) for n in range(100)])
    assert history(raw, keys, "quiet") == [{"n": 1}]


def test_history_expires_by_itself(raw: redis.Redis, keys: Keys, prefix: str, publisher: Publisher) -> None:
    publish(raw, keys, prefix, [event()], history_ttl_s=100)
    assert 90 < raw.ttl(keys.history("balance-sync")) <= 100
    publisher.publish([outgoing("other")])
    assert limits.HISTORY_TTL_S - 10 < raw.ttl(keys.history("other")) <= limits.HISTORY_TTL_S


def test_a_full_board_takes_no_new_name_and_keeps_who_is_on_it_current(
    raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    publish(raw, keys, prefix, [event(n=n) for n in range(4)], board_max=3)
    assert sorted(raw.hkeys(keys.board)) == [b"balance-sync/w-1", b"balance-sync/w-2", b"balance-sync/w-3"]
    assert raw.xlen(keys.feed) == 4
    publish(raw, keys, prefix, [event(n=9)], board_max=3)
    stamped: Any = raw.hget(keys.board, "balance-sync/w-1")
    assert json.loads(stamped)["status"] == {"n": 9}


def test_a_history_that_can_not_take_an_event_keeps_nobody_off_the_board(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    """Its ids follow the feed's. When the feed was evicted and the clock set back, each publish was refused for good."""
    raw.xadd(keys.history("balance-sync"), {"data": "{}"}, id=f"{2**62}-0")
    raw.set(keys.history("other"), "not ours")
    cursors = publisher.publish([outgoing(n=1), outgoing("other", n=2), outgoing("third", n=3)])
    assert len(cursors) == raw.hlen(keys.board) == raw.xlen(keys.feed) == 3


def test_a_beat_tells_whether_the_board_knows_the_instance(publisher: Publisher, raw: redis.Redis, keys: Keys) -> None:
    assert not publisher.beat("balance-sync", "w-1")
    publisher.publish([outgoing()])
    assert publisher.beat("balance-sync", "w-1")
    assert not publisher.beat("balance-sync", "w-2")
    raw.delete(keys.board)
    assert not publisher.beat("balance-sync", "w-1")
    rows: Any = raw.xrange(keys.beats)
    assert [(fields[b"service"], fields[b"instance"]) for _, fields in rows] == [
        (b"balance-sync", instance) for instance in (b"w-1", b"w-1", b"w-2", b"w-1")
    ]


def test_beats_are_capped(raw: redis.Redis, keys: Keys) -> None:
    for _ in range(500):
        raw.eval(read_script("beat"), 2, keys.beats, keys.board, 100, "balance-sync", "w-1")
    assert 100 <= raw.xlen(keys.beats) <= 200


async def test_an_instance_is_forgotten_only_when_nothing_newer_came_from_it(
    address: RedisAddress, publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    ended, _, returned, again, stays = publisher.publish(
        [outgoing(instance=name) for name in ("ended", "ended-too", "returned", "returned", "stays")]
    )
    janitor = Janitor(address, keys)
    gone = [("balance-sync", "ended", ended), ("balance-sync", "returned", returned), ("balance-sync", "never", again)]
    assert await janitor.forget(gone) == 1
    assert sorted(raw.hkeys(keys.board)) == [
        b"balance-sync/ended-too",
        b"balance-sync/returned",
        b"balance-sync/stays",
    ]
    assert await janitor.forget([("balance-sync", "returned", again), ("balance-sync", "stays", stays)]) == 2
    assert await janitor.forget([]) == 0
    await janitor.close()


async def test_a_janitor_without_redis_says_so(keys: Keys) -> None:
    janitor = Janitor(RedisAddress("127.0.0.1", free_port()), keys)
    with pytest.raises(BusUnavailable):
        await janitor.forget([("balance-sync", "w-1", ZERO)])
    await janitor.close()


def snapshot(raw: redis.Redis, keys: Keys) -> list[Any]:
    answer: list[Any] = raw.eval(read_script("snapshot"), 3, keys.feed, keys.beats, keys.board)
    return answer


def test_a_snapshot_of_nothing_stands_before_everything(raw: redis.Redis, keys: Keys) -> None:
    feed_id, beats_id, now_ms, board, beats, added = snapshot(raw, keys)
    assert (feed_id, beats_id, board, beats, added) == (b"0-0", b"0-0", [], [], 0)
    assert now_ms > 1_700_000_000_000


def test_a_snapshot_stands_where_its_board_is_true(publisher: Publisher, raw: redis.Redis, keys: Keys) -> None:
    cursors = publisher.publish([outgoing(n=n) for n in range(5)])
    publisher.beat("balance-sync", "w-1")
    feed_id, beats_id, _, board, beats, added = snapshot(raw, keys)
    assert Cursor.parse(feed_id) == cursors[-1]
    assert json.loads(board[1])["id"] == feed_id.decode()
    assert [row[0] for row in beats] == [beats_id]
    assert added == 5
    raw.xtrim(keys.feed, maxlen=0, approximate=False)
    assert snapshot(raw, keys)[0] == feed_id, "a feed that aged away keeps its place"


def continuity(raw: redis.Redis, keys: Keys, cursor: object, added: int = 0) -> list[int]:
    answer: list[int] = raw.eval(read_script("continuity"), 1, keys.feed, str(cursor), added)
    return answer


def test_a_reader_may_go_on_where_nothing_is_missing(publisher: Publisher, raw: redis.Redis, keys: Keys) -> None:
    assert continuity(raw, keys, ZERO) == [1, 0]
    cursors = publisher.publish([outgoing(n=n) for n in range(5)])
    assert continuity(raw, keys, ZERO) == [1, 5]
    for cursor in cursors:
        assert continuity(raw, keys, cursor, 5) == [1, 5]
    raw.xtrim(keys.feed, maxlen=2, approximate=False)
    assert continuity(raw, keys, ZERO) == [0, 5], "the first three were never read"
    assert continuity(raw, keys, cursors[1]) == [0, 5], "the third was never read"
    assert continuity(raw, keys, cursors[3]) == [1, 5]
    raw.xtrim(keys.feed, maxlen=0, approximate=False)
    assert continuity(raw, keys, cursors[4]) == [1, 5], "all was read before it aged away"


def test_a_reader_may_not_go_on_in_other_data(publisher: Publisher, raw: redis.Redis, keys: Keys) -> None:
    first = publisher.publish([outgoing(n=n) for n in range(5)])
    raw.delete(keys.feed)
    assert continuity(raw, keys, first[-1]) == [0, 0]
    (second,) = publisher.publish([outgoing()])
    assert continuity(raw, keys, first[-1]) == [0, 1]
    assert continuity(raw, keys, second, 5) == [0, 1], "it counts from the start again: the data was lost in between"
    assert continuity(raw, keys, Cursor(2**62, 0)) == [0, 1], "a failover lost what was read"


def test_redis_away_is_told_and_the_next_call_connects_again(
    caplog: pytest.LogCaptureFixture, keys: Keys, address: RedisAddress
) -> None:
    caplog.set_level(logging.DEBUG)
    publisher = Publisher(RedisAddress("127.0.0.1", free_port()), keys)
    for call in (lambda: publisher.publish([outgoing()]), lambda: publisher.beat("balance-sync", "w-1")):
        with pytest.raises(BusUnavailable) as failure:
            call()
        assert isinstance(failure.value.__cause__, redis.ConnectionError)
    publisher.close()


def test_scripts_are_found_again_after_redis_forgot_them(publisher: Publisher, raw: redis.Redis) -> None:
    publisher.publish([outgoing()])
    raw.script_flush()
    assert publisher.publish([outgoing()])
    assert publisher.beat("balance-sync", "w-1")
