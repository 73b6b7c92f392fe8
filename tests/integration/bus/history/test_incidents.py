"""Incidents: a loss is declared once, and keeps the last words of its instance."""

import asyncio
import json
import time
from typing import Any

import pytest
import redis
from tests.support.bus import event, lifecycle_events, outgoing
from tests.support.valkey import free_port

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.history.incidents import IncidentStore, InstanceLoss
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.rejections import Rejections
from pulseboard.sdk.log_buffer import LineBatch
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.events.lifecycle import parse_lifecycle_event
from pulseboard.wire.events.log import LinePosition
from pulseboard.wire.events.status import parse_status_event


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


class TestIncidents:
    def loss(self, cursor: Cursor, seen: int | None = None, instance: str = "w-1") -> InstanceLoss:
        parsed = parse_status_event(event(instance=instance, n=1, heartbeat_s=5))
        return InstanceLoss(parsed, cursor, cursor.ms if seen is None else seen, "silent")

    @pytest.fixture
    def incidents(self, bus: BusClient) -> IncidentStore:
        return IncidentStore(bus, Rejections())

    async def test_loss_is_declared_once_for_any_number_of_requests_and_keeps_last_words(
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
        (published,) = lifecycle_events(raw, keys)
        assert published["event"] == "lost"
        assert published["incident"]["id"] == words.incident.id
        assert parse_lifecycle_event(json.dumps(published).encode()).incident == words.incident

    async def test_loss_keeps_a_bounded_number_of_the_last_lines_of_its_instance_only(
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

    async def test_long_last_lines_are_cut_and_the_last_one_is_always_kept(
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

    async def test_later_lines_of_other_instances_do_not_hide_those_of_the_lost_one(
        self, publisher: Publisher, incidents: IncidentStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pulseboard.bus.history.last_lines.SCAN_MAX_ENTRIES", 50)
        log(publisher, "w-1", "the end", number="a:0")
        (cursor,) = publisher.publish([outgoing()])
        lost = parse_status_event(event(instance="w-1", heartbeat_s=0.05))
        # The condition is the clock of Redis, for which there is no event to wait for.
        while (  # noqa: ASYNC110
            log(publisher, "w-2", "chatter", number=f"b:{time.monotonic()}").ms <= cursor.ms + 100
        ):
            await asyncio.sleep(0.03)
        for n in range(100):
            log(publisher, "w-2", "chatter", number=f"c:{n}")
        assert await incidents.declare_lost([InstanceLoss(lost, cursor, cursor.ms, "silent")]) == 1
        (words,) = await incidents.read(10)
        assert [line.message for line in words.lines][-1] == "the end"

    async def test_loss_is_declared_although_the_log_key_has_a_wrong_type(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        (cursor,) = publisher.publish([outgoing()])
        raw.set(keys.history("balance-sync", "log"), "no stream")
        assert await incidents.declare_lost([self.loss(cursor)]) == 1
        assert [words.lines for words in await incidents.read(10)] == [[]]

    async def test_instance_with_a_later_sign_of_life_is_not_declared_lost(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        """A server that reads behind must not declare a loss that Redis can refute."""
        (first,) = publisher.publish([outgoing()])
        publisher.heartbeat("balance-sync", "w-1")
        heartbeat_ms: Any = raw.hget(keys.seen, "balance-sync/w-1")
        if int(heartbeat_ms) > first.ms:
            assert await incidents.declare_lost([self.loss(first)]) == 0
        (second,) = publisher.publish([outgoing(n=2)])
        assert await incidents.declare_lost([self.loss(first, int(heartbeat_ms))]) == 0
        assert await incidents.declare_lost([self.loss(second, int(heartbeat_ms))]) == 1
        assert await incidents.declare_lost([self.loss(second, instance="stranger")]) == 0

    async def test_lost_instance_that_sends_a_heartbeat_is_asked_for_its_status_once(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        """A return that shows only in heartbeats would leave no entry in the history."""
        (first,) = publisher.publish([outgoing()])
        assert await incidents.declare_lost([self.loss(first)]) == 1
        assert not publisher.heartbeat("balance-sync", "w-1")
        assert publisher.heartbeat("balance-sync", "w-1")

    async def test_lost_instance_that_published_a_status_since_is_not_asked_for_it(
        self, publisher: Publisher, incidents: IncidentStore
    ) -> None:
        (first,) = publisher.publish([outgoing()])
        assert await incidents.declare_lost([self.loss(first)]) == 1
        publisher.publish([outgoing(n=2)])
        assert publisher.heartbeat("balance-sync", "w-1")

    async def test_instance_that_returned_can_be_declared_lost_again(
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

    async def test_incidents_of_one_service_are_found_among_many(
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

    async def test_invalid_incident_entries_are_skipped(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys, incidents: IncidentStore
    ) -> None:
        raw.xadd(keys.incidents, {"data": "{}", "event": "{}"})
        raw.xadd(keys.incidents, {"other": "x"})
        (cursor,) = publisher.publish([outgoing()])
        await incidents.declare_lost([self.loss(cursor)])
        raw.xadd(keys.incidents, {"data": "garbage"})
        assert len(await incidents.read(10)) == 1

    async def test_incident_store_without_redis_raises(self, keys: Keys) -> None:
        async with BusClient(RedisAddress("127.0.0.1", free_port()), keys) as bus:
            incidents = IncidentStore(bus, Rejections())
            with pytest.raises(BusUnavailable):
                await incidents.read(1)
            with pytest.raises(BusUnavailable):
                await incidents.declare_lost([self.loss(Cursor(1, 0))])
