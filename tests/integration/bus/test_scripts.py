"""The Redis scripts: what one step writes, its caps, and what each tells."""

import asyncio
import json
import logging
import time
from typing import Any

import msgspec
import pytest
import redis
from tests.support.bus import event, history, outgoing
from tests.support.valkey import free_port

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.feed.entries import parse_heartbeat
from pulseboard.bus.feed.replay import FeedReplay
from pulseboard.bus.history.incidents import IncidentStore, InstanceLoss
from pulseboard.bus.keys import Keys, board_field
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.eviction import Evictor
from pulseboard.bus.retention.limits import DEFAULT_LIMITS, MB, WEEK_S, Limit, Limits
from pulseboard.bus.scripts import read_script
from pulseboard.sdk.log_buffer import LineBatch
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import BusUnavailable, ConfigError
from pulseboard.wire.events.lifecycle import parse_lifecycle_event
from pulseboard.wire.events.log import LinePosition
from pulseboard.wire.events.status import StatusEvent, parse_status_event


def publish(
    raw: redis.Redis, keys: Keys, prefix: str, jsons: list[bytes], **changed: Any
) -> list[str]:
    """Run publish.lua for events of w-1, w-2, … with limits of the caller's own."""
    limits: dict[str, Any] = {
        "feed": Limit(1_000, MB, 3_600),
        "status": Limit(100, MB, 60),
        "board": 10,
    }
    args: list[Any] = [msgspec.json.encode(Limits(**(limits | changed)))]
    for number, json_ in enumerate(jsons, 1):
        args += [f"{prefix}balance-sync", board_field("balance-sync", f"w-{number}"), json_, ""]
    names = [*keys.shared] + [
        keys.history("balance-sync"),
        keys.planned_returns("balance-sync"),
    ] * len(jsons)
    ids: Any = raw.eval(read_script("publish"), len(names), *names, *args)
    return [id.decode() for id in ids]


def log(
    publisher: Publisher, instance: str, message: str, *, number: str, traceback: str = ""
) -> Cursor:
    """Publish one line of `balance-sync`."""
    line = {"level": "info", "message": message, "timestamp": 1, "traceback": traceback}
    cursor = publisher.publish_lines(
        "balance-sync", instance, LineBatch(number, [json.dumps(line).encode()], "info=1", 0)
    )
    assert cursor is not None
    return cursor


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
    names = [*keys.shared, keys.heartbeats, keys.incidents]
    names += [
        keys.history("x"),
        keys.planned_returns("x"),
        keys.ingested("e", "d"),
        keys.ingestor("s"),
    ]
    assert {name[: name.index("}") + 1] for name in names} == {f"{{{keys.namespace}}}"}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("namespace", ["", "a}b", "a b", "x" * 65, "a\n", "{a}"])
def test_a_namespace_that_would_break_the_hash_tag_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError):
        Keys(namespace)


def test_feed_and_history_are_capped_by_count(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    for _ in range(10):
        publish(
            raw,
            keys,
            prefix,
            [event(n=n) for n in range(100)],
            feed=Limit(200, MB, 3_600),
            status=Limit(100, MB, 60),
        )
    # "~" lets Redis keep up to one node of 100 entries more.
    assert 200 <= raw.xlen(keys.feed) <= 300
    assert 100 <= raw.xlen(keys.history("balance-sync")) <= 200


def test_feed_and_history_are_capped_in_bytes(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    for _ in range(60):
        large = [event(n=n, instance="x" * 100, status={"text": "y" * 5_000}) for n in range(10)]
        publish(
            raw,
            keys,
            prefix,
            large,
            feed=Limit(100_000, MB, 3_600),
            status=Limit(100_000, MB // 2, 60),
        )
    for key, most in ((keys.feed, MB), (keys.history("balance-sync"), MB // 2)):
        size: Any = raw.memory_usage(key, samples=0)
        assert most // 2 < size < most + 32 * 5_500


def test_limits_that_the_servers_have_set_hold_for_every_writer(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    raw.set(keys.limits, msgspec.json.encode(Limits(status=Limit(100, MB, 50), board=2)))
    publisher.publish([outgoing(instance=f"w-{n}", n=n) for n in range(400)])
    assert raw.hlen(keys.board) == 2
    assert 100 <= raw.xlen(keys.history("balance-sync")) <= 200
    assert 40 < raw.ttl(keys.history("balance-sync")) <= 50


@pytest.mark.parametrize(
    "set_", ["garbage", "7", '{"log": [9, 9, 9]}', "null", '{"feed": [1000, 1000000, 3600]}']
)
def test_limits_that_are_none_or_not_all_keep_no_event_from_the_feed(
    raw: redis.Redis, keys: Keys, publisher: Publisher, set_: str
) -> None:
    raw.set(keys.limits, set_)
    publisher.publish([outgoing(n=1)])
    assert history(raw, keys) == [{"n": 1}]


def test_the_feed_is_capped_by_age_on_redis_clock(
    raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    for n in range(300):
        raw.xadd(keys.feed, {"kind": "status", "data": event(n=n)}, id=f"1000-{n + 1}")
    publish(raw, keys, prefix, [event()], feed=Limit(100_000, MB, 3_600))
    assert raw.xlen(keys.feed) <= 101


def test_a_noisy_service_can_not_evict_the_history_of_a_quiet_one(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    publisher.publish([outgoing("quiet", n=1)])
    for _ in range(12):
        publisher.publish([outgoing("noisy", n=n) for n in range(100)])
    assert history(raw, keys, "quiet") == [{"n": 1}]


def test_history_expires_by_itself(
    raw: redis.Redis, keys: Keys, prefix: str, publisher: Publisher
) -> None:
    publish(raw, keys, prefix, [event()], status=Limit(100, MB, 100))
    assert 90 < raw.ttl(keys.history("balance-sync")) <= 100
    publisher.publish([outgoing("other")])
    assert WEEK_S - 10 < raw.ttl(keys.history("other")) <= WEEK_S


def test_a_full_board_takes_no_new_name_and_keeps_who_is_on_it_current(
    raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    publish(raw, keys, prefix, [event(n=n) for n in range(4)], board=3)
    assert sorted(raw.hkeys(keys.board)) == [
        b"balance-sync/w-1",
        b"balance-sync/w-2",
        b"balance-sync/w-3",
    ]
    assert raw.xlen(keys.feed) == 4
    publish(raw, keys, prefix, [event(n=9)], board=3)
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


def test_a_beat_tells_whether_the_board_knows_the_instance(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    assert not publisher.heartbeat("balance-sync", "w-1")
    publisher.publish([outgoing()])
    assert publisher.heartbeat("balance-sync", "w-1")
    assert not publisher.heartbeat("balance-sync", "w-2")
    raw.delete(keys.board)
    assert not publisher.heartbeat("balance-sync", "w-1")
    rows: Any = raw.xrange(keys.heartbeats)
    assert [(fields[b"service"], fields[b"instance"]) for _, fields in rows] == [
        (b"balance-sync", instance) for instance in (b"w-1", b"w-1", b"w-2", b"w-1")
    ]


def test_a_beat_tells_whether_the_board_knows_the_last_event_that_was_taken(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    """A failover loses what the old master did not pass on: a service that said no more stood on the board with less."""
    publisher.publish([outgoing(n=1)])
    before: Any = raw.hgetall(keys.board)
    publisher.publish([outgoing(n=2)])
    raw.hset(keys.board, mapping=before)  # as on a replica that did not get the second one
    assert not publisher.heartbeat("balance-sync", "w-1")
    publisher.publish([outgoing(n=2)])
    assert publisher.heartbeat("balance-sync", "w-1")

    publish(raw, keys, "x:", [event(n=3)])  # another process of the same name
    assert publisher.heartbeat("balance-sync", "w-1"), "what is newer is no loss"


@pytest.mark.parametrize("back_in_s", [None, 60.0, 0.5])
def test_who_beats_under_the_name_of_one_that_said_goodbye_must_say_its_status_again(
    publisher: Publisher, keys: Keys, back_in_s: float | None
) -> None:
    """Two processes of one name: the goodbye of the one kept the other `stopped`, and its death unseen."""
    publisher.publish([outgoing()])
    assert publisher.heartbeat("balance-sync", "w-1")
    say_goodbye(publisher, "w-1", back_in_s)
    assert not publisher.heartbeat("balance-sync", "w-1")
    publisher.publish([Outgoing("balance-sync", "w-1", event(text=',"stopped":true,"id":"1-1"}'))])
    assert publisher.heartbeat("balance-sync", "w-1")


def test_beats_are_capped(raw: redis.Redis, keys: Keys) -> None:
    for _ in range(500):
        names = (keys.heartbeats, keys.clock, keys.board, keys.seen, keys.lost)
        raw.eval(read_script("heartbeat"), len(names), *names, 100, "balance-sync", "w-1", 0, "")
    assert 100 <= raw.xlen(keys.heartbeats) <= 200


async def test_an_instance_is_forgotten_only_when_nothing_newer_came_from_it(
    bus: BusClient, publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    ended, _, returned, again, stays = publisher.publish(
        [
            outgoing(instance=name)
            for name in ("ended", "ended-too", "returned", "returned", "stays")
        ]
    )
    janitor = Evictor(bus)
    gone = [
        ("balance-sync", "ended", ended),
        ("balance-sync", "returned", returned),
        ("balance-sync", "never", again),
    ]
    assert await janitor.evict(gone) == 1
    assert sorted(raw.hkeys(keys.board)) == [
        b"balance-sync/ended-too",
        b"balance-sync/returned",
        b"balance-sync/stays",
    ]
    assert (
        await janitor.evict([("balance-sync", "returned", again), ("balance-sync", "stays", stays)])
        == 2
    )
    assert await janitor.evict([]) == 0


async def test_a_janitor_without_redis_says_so(keys: Keys) -> None:
    async with BusClient(RedisAddress("127.0.0.1", free_port()), keys) as bus:
        with pytest.raises(BusUnavailable):
            await Evictor(bus).evict([("balance-sync", "w-1", ZERO)])


def snapshot(raw: redis.Redis, keys: Keys) -> list[Any]:
    names = (*keys.shared, keys.heartbeats, keys.incidents)
    answer: list[Any] = raw.eval(read_script("snapshot"), len(names), *names, 20, 100, 100_000)
    return answer


def test_a_snapshot_of_nothing_stands_before_everything(raw: redis.Redis, keys: Keys) -> None:
    feed_id, beats_id, added, now_ms, *rest = snapshot(raw, keys)
    assert (feed_id, beats_id, added, rest) == (b"0-0", b"0-0", 0, [[], [], [], [], []])
    assert now_ms > 1_700_000_000_000


def test_a_snapshot_stands_where_its_board_is_true(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    cursors = publisher.publish([outgoing(n=n) for n in range(5)])
    publisher.heartbeat("balance-sync", "w-1")
    feed_id, beats_id, added, _, board, seen, lost, incidents, recent = snapshot(raw, keys)
    assert [row[0].decode() for row in recent] == [str(cursor) for cursor in cursors[::-1]]
    assert Cursor.parse(feed_id) == cursors[-1]
    assert json.loads(board[1])["id"] == feed_id.decode()
    assert seen == [b"balance-sync/w-1", beats_id.partition(b"-")[0]]
    assert (added, lost, incidents) == (5, [], [])
    raw.xtrim(keys.feed, maxlen=0, approximate=False)
    assert snapshot(raw, keys)[0] == feed_id, "a feed that aged away keeps its place"


def goes_on(raw: redis.Redis, keys: Keys, cursor: object, added: int = 0) -> bool:
    """Whether a reader may go on after its cursor, by which so many entries had been added."""
    return bool(raw.eval(read_script("is_continuous"), 1, keys.feed, str(cursor), str(added)))


def test_a_reader_may_go_on_where_nothing_is_missing(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    assert goes_on(raw, keys, ZERO)
    cursors = publisher.publish([outgoing(n=n) for n in range(5)])
    assert goes_on(raw, keys, ZERO)
    for n, cursor in enumerate(cursors, 1):
        assert goes_on(raw, keys, cursor, n)
    raw.xtrim(keys.feed, maxlen=2, approximate=False)
    assert not goes_on(raw, keys, ZERO), "the first three were never read"
    assert not goes_on(raw, keys, cursors[1], 2), "the third was never read"
    assert goes_on(raw, keys, cursors[3], 4)
    raw.xtrim(keys.feed, maxlen=0, approximate=False)
    assert goes_on(raw, keys, cursors[4], 5), "all was read before it aged away"


def test_a_reader_may_not_go_on_in_other_data(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    first = publisher.publish([outgoing(n=n) for n in range(5)])
    raw.delete(keys.feed)
    assert not goes_on(raw, keys, first[-1], 5)
    while redis_ms(raw) <= first[-1].ms:  # else ids would be given out again
        pass
    publisher.publish([outgoing(n=n) for n in range(7)])
    assert not goes_on(raw, keys, first[-1], 5)
    assert not goes_on(raw, keys, Cursor(2**62, 0), 5), "a failover lost what was read"


def redis_ms(raw: redis.Redis) -> int:
    seconds, microseconds = raw.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def test_data_that_was_lost_and_made_again_is_told_by_its_count(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    """A reader had read 5 when all was flushed and 7 more came, which it read: it must not go on as one that missed nothing."""
    publisher.publish([outgoing(n=n) for n in range(5)])
    raw.delete(keys.feed)
    second = publisher.publish([outgoing(n=n) for n in range(7)])
    assert not goes_on(raw, keys, second[-1], 5 + 7)


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


def test_a_replay_gives_what_followed_up_to_its_bound_or_nothing_at_all(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    cursors = publisher.publish([outgoing(n=n) for n in range(6)])
    ids = [str(cursor) for cursor in cursors]
    assert replay(raw, keys, ids[1], ids[4]) == ids[2:5]
    assert replay(raw, keys, ids[1], ids[4], count=2) == ids[2:4]
    assert replay(raw, keys, ids[5], ids[5]) == []
    assert replay(raw, keys, "1-1", ids[5]) is None, "an id that nobody knows"
    raw.xtrim(keys.feed, maxlen=3, approximate=False)
    assert replay(raw, keys, ids[1], ids[5]) is None, "the third is gone"
    assert replay(raw, keys, ids[3], ids[5]) == ids[4:]


def test_a_page_of_a_replay_is_bounded_in_bytes_and_has_one_event_at_least(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    ids = [str(cursor) for cursor in publisher.publish([outgoing(n=n) for n in range(6)])]
    size = len(event(n=1)) + len("kindstatusdata")
    assert replay(raw, keys, ids[0], ids[5], max_bytes=3 * size) == ids[1:4]
    assert replay(raw, keys, ids[0], ids[5], max_bytes=1) == ids[1:2]


async def test_what_was_missed_comes_whole_however_large(
    publisher: Publisher, bus: BusClient
) -> None:
    cursors = publisher.publish([outgoing(instance="x" * (n % 100), n=n) for n in range(60)])
    cursors += publisher.publish(
        [Outgoing("a", "", event("a", "", status={"x": "y" * 30_000})) for _ in range(5)]
    )
    replay, came, at = FeedReplay(bus, Rejections()), [], cursors[0]
    while at < cursors[-1]:
        page = await replay.read(at, cursors[-1])
        assert page is not None
        came += page[0]
        assert (
            sum(
                len(bytes(entry.event.status))
                for entry in page[0]
                if isinstance(entry.event, StatusEvent)
            )
            < 65_536
        )
        at = page[1]
    assert [entry.cursor for entry in came] == cursors[1:]


def lifecycle(raw: redis.Redis, keys: Keys) -> list[dict[str, Any]]:
    """Return what the feed tells of what became of instances."""
    rows: Any = raw.xrange(keys.feed)
    return [json.loads(fields[b"data"]) for _, fields in rows if fields[b"kind"] == b"lifecycle"]


def say_goodbye(publisher: Publisher, instance: str, back_in_s: float | None) -> None:
    planned: dict[str, Any] = {} if back_in_s is None else {"back_in_s": back_in_s}
    json_ = event(instance=instance, stopped=True, **planned)
    publisher.publish([Outgoing("balance-sync", instance, json_, back_in_s)])


class TestPlannedReturn:
    def test_a_new_instance_takes_the_place_of_the_one_that_is_away_longest(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        publisher.publish([outgoing(instance=name) for name in ("w-1", "w-2", "w-3")])
        say_goodbye(publisher, "w-2", 60)
        say_goodbye(publisher, "w-1", 60)
        publisher.publish([outgoing("other", "x"), outgoing(instance="w-3", n=1)])
        assert lifecycle(raw, keys) == [], (
            "another service, and one that was there all the time, replace nobody"
        )
        publisher.publish([outgoing(instance="new-1")])
        (gone,) = lifecycle(raw, keys)
        assert gone.pop("timestamp") > 0
        expected = {
            "service": "balance-sync",
            "instance": "w-2",
            "event": "gone",
            "replaced_by": "new-1",
        }
        assert gone == expected
        publisher.publish([outgoing(instance="new-2"), outgoing(instance="new-3")])
        assert [each["instance"] for each in lifecycle(raw, keys)] == ["w-2", "w-1"]
        assert sorted(raw.hkeys(keys.board)) == [
            b"balance-sync/new-1",
            b"balance-sync/new-2",
            b"balance-sync/new-3",
            b"balance-sync/w-3",
            b"other/x",
        ]

    def test_one_that_comes_back_itself_is_replaced_by_nobody(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        publisher.publish([outgoing()])
        say_goodbye(publisher, "w-1", 60)
        publisher.publish([outgoing(n=2), outgoing(instance="w-2")])
        assert lifecycle(raw, keys) == []
        assert raw.hlen(keys.board) == 2

    def test_a_plain_goodbye_waits_for_nobody(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        publisher.publish([outgoing()])
        say_goodbye(publisher, "w-1", None)
        publisher.publish([outgoing(instance="w-2")])
        assert raw.hlen(keys.board) == 2

    def test_an_instance_with_any_name_is_told_of_as_json(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        odd = 'a"b\\é %s'
        say_goodbye(publisher, odd, 60)
        publisher.publish([outgoing(instance=odd + "2")])
        (gone,) = lifecycle(raw, keys)
        assert (gone["instance"], gone["replaced_by"]) == (odd, odd + "2")


class TestIncidents:
    def loss(self, cursor: Cursor, seen: int | None = None, instance: str = "w-1") -> InstanceLoss:
        parsed = parse_status_event(event(instance=instance, n=1, heartbeat_s=5))
        return InstanceLoss(parsed, cursor, cursor.ms if seen is None else seen, "silent")

    @pytest.fixture
    def incidents(self, bus: BusClient) -> IncidentStore:
        return IncidentStore(bus, Rejections())

    async def test_a_loss_is_declared_once_however_many_ask_and_keeps_the_last_words(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        (cursor,) = publisher.publish([Outgoing("balance-sync", "w-1", event(n=1, heartbeat_s=5))])
        loss = self.loss(cursor)
        assert [await incidents.declare_lost([loss]) for _ in range(3)] == [1, 0, 0]
        (words,) = await incidents.read(10)
        assert (words.incident.instance, words.incident.seen, words.incident.cause) == (
            "w-1",
            cursor.ms,
            "silent",
        )
        assert words.incident.declared >= cursor.ms
        assert (json.loads(bytes(words.event.status)), words.cursor) == ({"n": 1}, cursor)
        (told,) = lifecycle(raw, keys)
        assert told["event"] == "lost"
        assert told["incident"]["id"] == words.incident.id
        assert parse_lifecycle_event(json.dumps(told).encode()).incident == words.incident

    async def test_a_loss_keeps_the_last_lines_of_that_instance_alone_in_order_and_bounded(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        (cursor,) = publisher.publish([outgoing()])
        for n in range(40):
            log(publisher, "w-1", f"line {n}", number=f"a:{n}")
            log(publisher, "w-2", f'not "instance":"w-1" {n}', number=f"b:{n}")
        assert await incidents.declare_lost([self.loss(cursor)]) == 1
        (words,) = await incidents.read(10)
        assert [line.message for line in words.lines] == [f"line {n}" for n in range(20, 40)]
        assert all(LinePosition.parse(line.id).cursor > cursor for line in words.lines)

    async def test_long_lines_are_cut_and_the_last_is_kept_whatever_its_size(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        (cursor,) = publisher.publish([outgoing()])
        for n in range(20):
            log(
                publisher,
                "w-1",
                f"{n} " + "\0" * 5_000,
                number=f"a:{n}",
                traceback="\0" * 9_000 + "raised here",
            )
        assert await incidents.declare_lost([self.loss(cursor)]) == 1
        (words,) = await incidents.read(10)
        (line,) = words.lines
        assert line.message.startswith("19 ")
        assert line.traceback.endswith("raised here")
        rows: Any = raw.xrange(keys.incidents)
        assert len(rows[0][1][b"lines"]) < 32_000

    async def test_lines_of_others_since_do_not_hide_those_of_who_was_lost(
        self, publisher: Publisher, incidents: IncidentStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pulseboard.bus.history.last_lines.SCAN_MAX_ENTRIES", 50)
        log(publisher, "w-1", "the end", number="a:0")
        (cursor,) = publisher.publish([outgoing()])
        lost = parse_status_event(event(instance="w-1", heartbeat_s=0.05))
        # What it waits for is Redis' clock.
        while (  # noqa: ASYNC110
            log(publisher, "w-2", "chatter", number=f"b:{time.monotonic()}").ms <= cursor.ms + 100
        ):
            await asyncio.sleep(0.03)
        for n in range(100):
            log(publisher, "w-2", "chatter", number=f"c:{n}")
        assert await incidents.declare_lost([InstanceLoss(lost, cursor, cursor.ms, "silent")]) == 1
        (words,) = await incidents.read(10)
        assert [line.message for line in words.lines][-1] == "the end"

    async def test_a_log_that_is_none_keeps_no_loss_from_being_told(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        (cursor,) = publisher.publish([outgoing()])
        raw.set(keys.history("balance-sync", "log"), "no stream")
        assert await incidents.declare_lost([self.loss(cursor)]) == 1
        assert [words.lines for words in await incidents.read(10)] == [[]]

    async def test_whoever_gave_a_later_sign_of_life_is_not_lost(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        """A server that is behind in reading must not declare what Redis knows better."""
        (first,) = publisher.publish([outgoing()])
        publisher.heartbeat("balance-sync", "w-1")
        beaten: Any = raw.hget(keys.seen, "balance-sync/w-1")
        if int(beaten) > first.ms:
            assert await incidents.declare_lost([self.loss(first)]) == 0
        (second,) = publisher.publish([outgoing(n=2)])
        assert await incidents.declare_lost([self.loss(first, int(beaten))]) == 0
        assert await incidents.declare_lost([self.loss(second, int(beaten))]) == 1
        assert await incidents.declare_lost([self.loss(second, instance="stranger")]) == 0

    async def test_one_that_beats_again_says_its_status_again_once(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        """Of a return by beats alone nothing would stay in history."""
        (first,) = publisher.publish([outgoing()])
        assert await incidents.declare_lost([self.loss(first)]) == 1
        assert not publisher.heartbeat("balance-sync", "w-1")
        assert publisher.heartbeat("balance-sync", "w-1")

    async def test_one_that_said_something_since_need_not_say_it_again(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        (first,) = publisher.publish([outgoing()])
        assert await incidents.declare_lost([self.loss(first)]) == 1
        publisher.publish([outgoing(n=2)])
        assert publisher.heartbeat("balance-sync", "w-1")

    async def test_one_that_came_back_can_be_lost_again(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        (first,) = publisher.publish([outgoing()])
        assert await incidents.declare_lost([self.loss(first)]) == 1
        (second,) = publisher.publish([outgoing(n=2)])
        assert await incidents.declare_lost([self.loss(second, second.ms + 1)]) == 1
        newest, oldest = await incidents.read(10)
        assert (newest.cursor, oldest.cursor) == (second, first)
        assert await incidents.read(10, before=Cursor.parse(newest.incident.id)) == [oldest]
        assert await incidents.read(1) == [newest]

    async def test_those_of_one_service_are_found_among_many(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        for n in range(12):
            name = "rare" if n % 6 == 0 else "common"
            (cursor,) = publisher.publish([Outgoing(name, f"w-{n}", event(name, f"w-{n}"))])
            loss = InstanceLoss(
                parse_status_event(event(name, f"w-{n}")), cursor, cursor.ms, "silent"
            )
            assert await incidents.declare_lost([loss]) == 1
        assert [each.incident.instance for each in await incidents.read(5, service="rare")] == [
            "w-6",
            "w-0",
        ]
        assert len(await incidents.read(5, service="common")) == 5

    async def test_what_others_write_there_is_passed_over(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        raw.xadd(keys.incidents, {"data": "{}", "event": "{}"})
        raw.xadd(keys.incidents, {"other": "x"})
        (cursor,) = publisher.publish([outgoing()])
        await incidents.declare_lost([self.loss(cursor)])
        raw.xadd(keys.incidents, {"data": "garbage"})
        assert len(await incidents.read(10)) == 1

    async def test_without_redis_it_says_so(self, keys: Keys) -> None:
        async with BusClient(RedisAddress("127.0.0.1", free_port()), keys) as bus:
            incidents = IncidentStore(bus, Rejections())
            with pytest.raises(BusUnavailable):
                await incidents.read(1)
            with pytest.raises(BusUnavailable):
                await incidents.declare_lost([self.loss(Cursor(1, 0))])


def test_a_forgotten_instance_is_told_of_in_the_feed(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    (cursor,) = publisher.publish([outgoing()])
    publisher.heartbeat("balance-sync", "w-1")
    names = keys.shared
    assert (
        raw.eval(
            read_script("evict"),
            len(names),
            *names,
            DEFAULT_LIMITS,
            "balance-sync/w-1",
            str(cursor),
        )
        == 1
    )
    (gone,) = lifecycle(raw, keys)
    assert (gone["service"], gone["instance"], gone["event"]) == ("balance-sync", "w-1", "gone")
    assert raw.hlen(keys.seen) == raw.hlen(keys.board) == 0


def test_a_lag_travels_with_the_beat(publisher: Publisher, raw: redis.Redis, keys: Keys) -> None:
    publisher.heartbeat("balance-sync", "w-1", 0)
    publisher.heartbeat("balance-sync", "w-1", 4_200)
    rows: Any = raw.xrange(keys.heartbeats)
    assert [parse_heartbeat(row).lag_ms for row in rows] == [0, 4_200]


def test_redis_away_is_told_and_the_next_call_connects_again(
    caplog: pytest.LogCaptureFixture, keys: Keys, address: RedisAddress
) -> None:
    caplog.set_level(logging.DEBUG)
    publisher = Publisher(RedisAddress("127.0.0.1", free_port()), keys)
    for call in (
        lambda: publisher.publish([outgoing()]),
        lambda: publisher.heartbeat("balance-sync", "w-1"),
    ):
        with pytest.raises(BusUnavailable) as failure:
            call()
        assert isinstance(failure.value.__cause__, redis.ConnectionError)
    publisher.close()


def test_scripts_are_found_again_after_redis_forgot_them(
    publisher: Publisher, raw: redis.Redis
) -> None:
    publisher.publish([outgoing()])
    raw.script_flush()
    assert publisher.publish([outgoing()])
    assert publisher.heartbeat("balance-sync", "w-1")


def metrics_json(instance: str, n: int = 1) -> bytes:
    return json.dumps(
        {"service": "report", "metrics": {"n": n}, "instance": instance}, separators=(",", ":")
    ).encode()


def test_a_flood_of_names_makes_room_in_the_latest_metrics_at_the_price_of_old_ones(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    raw.set(keys.limits, msgspec.json.encode(Limits(board=50)))
    for n in range(300):
        publisher.publish_metrics("report", f"flood-{n}", metrics_json(f"flood-{n}"))
    publisher.publish_metrics("report", "last", metrics_json("last"))
    fields: Any = raw.hkeys(keys.latest_metrics)
    assert len(fields) == 50
    assert b"report/last" in fields
    assert sum(field.startswith(b"report/flood-2") for field in fields) > 25, (
        "those that spoke last are still there"
    )


def test_limits_from_before_there_were_metrics_hold_and_metrics_have_the_default(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    old = {
        name: limit
        for name, limit in msgspec.to_builtins(Limits(feed=Limit(7, MB, 60))).items()
        if name != "metric"
    }
    raw.set(keys.limits, json.dumps(old))
    for n in range(300):
        publisher.publish_metrics("report", "w-1", metrics_json("w-1", n))
    assert raw.xlen(keys.feed) < 200
    assert raw.xlen(keys.history("report", "metric")) == 300


def test_metrics_leave_with_their_instance(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    (cursor,) = publisher.publish([outgoing()])
    publisher.publish_metrics(
        "balance-sync", "w-1", b'{"service":"balance-sync","metrics":{"n":1},"instance":"w-1"}'
    )
    publisher.publish_metrics(
        "balance-sync", "w-2", b'{"service":"balance-sync","metrics":{"n":1},"instance":"w-2"}'
    )
    raw.eval(
        read_script("evict"),
        len(keys.shared),
        *keys.shared,
        DEFAULT_LIMITS,
        "balance-sync/w-1",
        str(cursor),
    )
    assert raw.hkeys(keys.latest_metrics) == [b"balance-sync/w-2"]
