"""Clients that resume from before the ring: the hub replays the feed, here from a list."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.hub import (
    STATUS_STREAM,
    ListSink,
    entry,
    event_names,
    eventually,
    messages,
    reset,
)

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, Entry, Heartbeat
from pulseboard.bus.rejections import Rejections
from pulseboard.hub import resume as resume_module
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.hub.ring import Ring
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable


class ListReplay:
    """A feed replay from a list in small pages, with actions of the test between two pages."""

    def __init__(self, page_size: int = 3) -> None:
        self.entries: list[Entry] = []
        self.trimmed_count = 0
        self.page_size = page_size
        self.before_each_read: list[object] = []
        self.is_unreachable = False
        self.reads = 0

    async def read(self, since: Cursor, bound: Cursor) -> tuple[list[Entry], Cursor] | None:
        self.reads += 1
        await asyncio.sleep(0)
        for act in self.before_each_read:
            act()  # type: ignore[operator]
        if self.is_unreachable:
            raise BusUnavailable
        stored = self.entries[self.trimmed_count :]
        if since not in [each.cursor for each in stored]:
            return None
        page = [each for each in stored if since < each.cursor <= bound][: self.page_size]
        return page, page[-1].cursor if len(page) == self.page_size else max(since, bound)


class Scenario:
    """A hub with a small ring, and a replay of every event that was published."""

    def __init__(self, ring_size: int = 4) -> None:
        options = HubOptions(write_deadline_s=0.2)
        self.replay = ListReplay()
        self.hub = Hub(
            Board(),
            RedisClock(),
            Rejections(),
            options,
            replay=self.replay,
            ring=Ring(max_frames=ring_size),
        )
        self.replay.entries.append(entry(0))
        self.hub.apply(reset(0, entry(0)))
        self.last_number = 0

    def publish(self, count: int = 1, *, is_read: bool = True) -> list[Entry]:
        """Add `count` events to the feed; the hub reads them at once if `is_read`."""
        entries = [
            entry(self.last_number + i, "ab"[(self.last_number + i) % 2])
            for i in range(1, count + 1)
        ]
        self.last_number += count
        self.replay.entries += entries
        if is_read:
            self.hub.apply(Batch(entries))
        return entries

    async def resume(
        self, since: int, *, view: View | None = None, sink: ListSink | None = None
    ) -> ListSink:
        sink = sink or ListSink()
        connection = Connection(view or View(), sink)
        await self.hub.attach(connection, Cursor(since, 0))
        return sink


def numbers(sink: ListSink) -> list[int]:
    """Return the numbers of the status events on either stream, in order."""
    statuses = [
        message.data for message in messages(sink.writes) if message.event in ("status", "message")
    ]
    return [data["status"]["n"] for data in statuses if "status" in data]


@pytest.fixture
def scenario() -> Scenario:
    return Scenario()


async def test_events_older_than_the_ring_come_from_the_replay_and_then_from_the_ring(
    scenario: Scenario,
) -> None:
    scenario.publish(20)
    sink = await scenario.resume(3)
    scenario.publish(2)
    assert numbers(sink) == list(range(4, 23))
    assert event_names(sink)[:2] == ["heartbeats", "ping"]
    assert scenario.hub.clients == 1


async def test_events_during_the_replay_follow_it(scenario: Scenario) -> None:
    scenario.publish(20)
    scenario.replay.before_each_read.append(lambda: scenario.publish(1))
    sink = await scenario.resume(3)
    assert numbers(sink)[:17] == list(range(4, 21))
    # The ring is small: events that it dropped meanwhile are counted, and the board follows.
    skipped = [
        message.data["skipped"] for message in messages(sink.writes) if message.event == "skipped"
    ]
    assert skipped == [{"status": scenario.last_number - 20}]
    assert event_names(sink)[-1] == "board"


async def test_status_stream_resumes_from_the_replay_without_a_snapshot(scenario: Scenario) -> None:
    scenario.publish(20)
    sink = await scenario.resume(15, view=STATUS_STREAM)
    scenario.publish()
    assert numbers(sink) == list(range(16, 22))


async def test_reset_during_the_replay_is_sent(scenario: Scenario) -> None:
    scenario.publish(20)

    def fail_over() -> None:
        scenario.hub.apply(reset(21, entry(21), reason="a failover"))
        scenario.replay.before_each_read.clear()

    scenario.replay.before_each_read.append(fail_over)
    sink = await scenario.resume(3)
    assert event_names(sink)[-2:] == ["reset", "board"]


@pytest.mark.parametrize(("trimmed", "is_unreachable"), [(10, False), (0, True)])
async def test_failed_replay_gives_a_reset_and_the_board(
    scenario: Scenario, trimmed: int, is_unreachable: bool
) -> None:
    scenario.publish(20)
    scenario.replay.trimmed_count, scenario.replay.is_unreachable = trimmed, is_unreachable
    sink = await scenario.resume(3)
    assert event_names(sink) == ["reset", "board"]
    scenario.publish()
    assert numbers(sink) == [21]


async def test_feed_that_is_trimmed_during_the_replay_gives_a_reset_and_no_gap(
    scenario: Scenario,
) -> None:
    scenario.publish(20)

    def trim() -> None:
        scenario.replay.trimmed_count += 5

    scenario.replay.before_each_read.append(trim)
    sink = await scenario.resume(6)
    assert numbers(sink) == [7, 8, 9]
    assert event_names(sink)[-2:] == ["reset", "board"]


async def test_more_missed_events_than_the_limit_give_a_reset(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_module, "MAX_EVENTS", 5)
    scenario.publish(20)
    assert event_names(await scenario.resume(3))[-2:] == ["reset", "board"]
    assert numbers(await scenario.resume(15)) == [16, 17, 18, 19, 20]


async def test_hub_waits_for_the_feed_if_the_client_comes_from_a_server_that_is_ahead(
    scenario: Scenario,
) -> None:
    scenario.publish(2)
    ahead = scenario.publish(2, is_read=False)
    resuming = asyncio.create_task(scenario.resume(4))
    await asyncio.sleep(0)
    assert not resuming.done()
    scenario.hub.apply(Batch(ahead))
    scenario.publish()
    sink = await resuming
    assert numbers(sink) == [5]
    assert "reset" not in event_names(sink)


async def test_client_with_a_cursor_that_the_feed_lost_gets_a_reset(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario.publish(2)
    assert event_names(await scenario.resume(77)) == ["reset", "board"]
    monkeypatch.setattr(resume_module, "AHEAD_S", 0.01)
    scenario.publish(1, is_read=False)
    # This server does not reach the cursor in time.
    assert event_names(await scenario.resume(3)) == ["reset", "board"]


async def test_client_that_reads_nothing_of_the_replay_is_closed(scenario: Scenario) -> None:
    scenario.publish(20)
    sink = await scenario.resume(3, sink=ListSink(room=1))
    assert sink.aborted
    assert scenario.hub.clients == 0


async def test_hub_reads_no_replay_for_a_client_that_reads_nothing(scenario: Scenario) -> None:
    """Each of many resuming clients that read nothing kept a page in memory.

    The page stayed for the whole write deadline.
    """
    scenario.publish(20)
    resuming = asyncio.create_task(scenario.resume(3, sink=ListSink(room=0)))
    await asyncio.sleep(0.05)
    assert scenario.replay.reads == 0
    assert (await resuming).aborted


async def test_heartbeat_of_an_instance_that_appeared_in_the_replay_is_sent_after_it(
    scenario: Scenario,
) -> None:
    """The resuming client got the heartbeats before it had the new instance.

    It ignored the heartbeat of that instance and then showed the instance as lost.
    """
    new = entry(21, "new", heartbeat_s=5)
    scenario.publish(20)
    scenario.replay.entries.append(new)
    scenario.hub.apply(Batch([new], [Heartbeat("new", "", 90)], observed_until=91))
    scenario.last_number = 21
    scenario.publish(10)
    sent = messages((await scenario.resume(3)).writes)
    after = sent[[message.data.get("service") for message in sent].index("new") :]
    assert ["new", "", 90] in [
        heartbeat
        for message in after
        if message.event == "heartbeats"
        for heartbeat in message.data["heartbeats"]
    ]


async def test_client_that_reads_a_little_at_a_time_gets_the_whole_replay(
    scenario: Scenario,
) -> None:
    scenario.publish(20)
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    since = Cursor(3, 0)
    attaching = asyncio.create_task(scenario.hub.attach(connection, since))
    while not attaching.done():
        await eventually(lambda: sink.room == 0 or attaching.done())
        sink.room = 1
        scenario.hub.resume_writing(connection)
        await asyncio.sleep(0)
    sink.room = None
    scenario.hub.resume_writing(connection)
    assert numbers(sink) == list(range(4, 21))


async def test_hub_that_closes_during_the_replay_ends_the_stream(scenario: Scenario) -> None:
    scenario.publish(20)
    scenario.replay.before_each_read.append(lambda: scenario.hub.close("stopping"))
    sink = await scenario.resume(3)
    assert sink.closed
    bye = messages(sink.writes)[-1]
    assert (bye.event, bye.id) == ("bye", None), "the client resumes from its own last id"
    assert numbers(sink) == list(range(4, 4 + len(numbers(sink))))


async def test_closing_hub_does_not_wait_for_a_client_that_reads_the_replay(
    scenario: Scenario,
) -> None:
    """The stream of such a client stayed open for the whole write deadline.

    The process did not end before it.
    """
    scenario.publish(20)
    sink = ListSink(room=1)
    resuming = asyncio.create_task(scenario.resume(3, sink=sink))
    await eventually(lambda: sink.room == 0)
    scenario.hub.close("stopping")
    await asyncio.wait_for(resuming, 0.1)
    assert (sink.closed, sink.aborted) == (True, False)
    assert messages(sink.writes)[-1].event == "bye"


async def test_closing_hub_does_not_wait_for_the_feed_to_catch_up(scenario: Scenario) -> None:
    scenario.publish(2)
    scenario.publish(2, is_read=False)
    resuming = asyncio.create_task(scenario.resume(4))
    await asyncio.sleep(0)
    scenario.hub.close("stopping")
    sink = await asyncio.wait_for(resuming, 1)
    assert [message.event for message in messages(sink.writes)] == ["bye"]


@settings(max_examples=examples(80), deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 6)),
            st.tuples(st.just("resume"), st.integers(0, 40)),
            st.tuples(st.just("trim"), st.integers(1, 8)),
            st.tuples(st.just("lose"), st.integers(1, 3)),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 6),
    st.booleans(),
)
async def test_client_that_resumes_anywhere_gets_each_event_once_or_an_announcement(
    steps: list[tuple[str, int]], ring_size: int, on_status_stream: bool
) -> None:
    """A client that resumes from an existing event gets all later ones in order.

    The only exception is a reset or a count of skipped events between them.
    """
    scenario = Scenario(ring_size)
    resumed: list[tuple[int, ListSink]] = []
    for step, number in steps:
        if step == "publish":
            scenario.publish(number)
        elif step == "trim":
            scenario.replay.trimmed_count = min(
                scenario.replay.trimmed_count + number, len(scenario.replay.entries) - 1
            )
        elif step == "lose":
            # A failover loses the last events; another event takes their place.
            del scenario.replay.entries[max(1, len(scenario.replay.entries) - number) :]
            scenario.replay.trimmed_count = min(
                scenario.replay.trimmed_count, len(scenario.replay.entries) - 1
            )
            scenario.last_number += 1
            scenario.replay.entries.append(entry(scenario.last_number))
            scenario.hub.apply(
                reset(scenario.last_number, entry(scenario.last_number), reason="a failover")
            )
        else:
            resumed.append(
                (
                    number,
                    await scenario.resume(number, view=STATUS_STREAM if on_status_stream else None),
                )
            )
    stored = {each.cursor.ms for each in scenario.replay.entries}
    for since, sink in resumed:
        shown = messages(sink.writes)
        announcements = [
            message
            for message in shown
            if message.event in ("reset", "skipped", "board")
            or (on_status_stream and "status" not in message.data)
        ]
        seen = numbers(sink)
        assert seen == sorted(set(seen)), "a duplicate, or out of order"
        if not announcements:
            assert since in {*stored, 0} or since <= max(stored), (
                "resumed from an event that never existed"
            )
            assert seen == [n for n in sorted(stored) if n > since], "a gap without an announcement"
