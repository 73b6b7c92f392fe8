"""Readers that come back after the ring let go of what they missed, on a hub without Redis: the feed's past is a list."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.hub import ListSink, entry, eventually, messages, reset

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

SEED = View(status_stream=True)


class Past:
    """What Redis holds of the feed, given in small pages, and what happens between two of them."""

    def __init__(self, page: int = 3) -> None:
        self.entries: list[Entry] = []
        self.trimmed = 0
        self.page = page
        self.between: list[object] = []
        self.away = False
        self.reads = 0

    async def read(self, since: Cursor, bound: Cursor) -> tuple[list[Entry], Cursor] | None:
        self.reads += 1
        await asyncio.sleep(0)
        for happen in self.between:
            happen()  # type: ignore[operator]
        if self.away:
            raise BusUnavailable
        held = self.entries[self.trimmed :]
        if since not in [each.cursor for each in held]:
            return None
        page = [each for each in held if since < each.cursor <= bound][: self.page]
        return page, page[-1].cursor if len(page) == self.page else max(since, bound)


class World:
    """A hub with a small ring, and the past of all that it was ever given."""

    def __init__(self, ring: int = 4) -> None:
        options = HubOptions(write_deadline_s=0.2)
        self.past = Past()
        self.hub = Hub(
            Board(),
            RedisClock(),
            Rejections(),
            options,
            replay=self.past,
            ring=Ring(max_frames=ring),
        )
        self.past.entries.append(entry(0))
        self.hub.apply(reset(0, entry(0)))
        self.n = 0

    def say(self, count: int = 1, *, observed_until: bool = True) -> list[Entry]:
        """Add events to the feed; the hub reads them unless it is not to have heard yet."""
        said = [entry(self.n + i, "ab"[(self.n + i) % 2]) for i in range(1, count + 1)]
        self.n += count
        self.past.entries += said
        if observed_until:
            self.hub.apply(Batch(said))
        return said

    async def come_back(
        self, since: int, *, view: View | None = None, sink: ListSink | None = None
    ) -> ListSink:
        sink = sink or ListSink()
        connection = Connection(view or View(), sink)
        await self.hub.attach(connection, Cursor(since, 0))
        return sink


def numbers(sink: ListSink) -> list[int]:
    found = [
        message.data for message in messages(sink.writes) if message.event in ("status", "message")
    ]
    return [data["status"]["n"] for data in found if "status" in data]


def events(sink: ListSink) -> list[str]:
    return [message.event for message in messages(sink.writes)]


@pytest.fixture
def world() -> World:
    return World()


async def test_what_the_ring_let_go_of_comes_from_the_past_and_then_from_the_ring(
    world: World,
) -> None:
    world.say(20)
    sink = await world.come_back(3)
    world.say(2)
    assert numbers(sink) == list(range(4, 23))
    assert events(sink)[:2] == ["heartbeats", "ping"]
    assert world.hub.clients == 1


async def test_what_happens_while_the_past_is_read_follows_it(world: World) -> None:
    world.say(20)
    world.past.between.append(lambda: world.say(1))
    sink = await world.come_back(3)
    assert numbers(sink)[:17] == list(range(4, 21))
    # The ring is small: what it let go of meanwhile is counted, and the board says the rest.
    skipped = [
        message.data["skipped"] for message in messages(sink.writes) if message.event == "skipped"
    ]
    assert skipped == [{"status": world.n - 20}]
    assert events(sink)[-1] == "board"


async def test_the_seeds_stream_catches_up_without_a_snapshot(world: World) -> None:
    world.say(20)
    sink = await world.come_back(15, view=SEED)
    world.say()
    assert numbers(sink) == list(range(16, 22))


async def test_a_reset_while_the_past_is_read_is_told(world: World) -> None:
    world.say(20)

    def fail_over() -> None:
        world.hub.apply(reset(21, entry(21), reason="a failover"))
        world.past.between.clear()

    world.past.between.append(fail_over)
    sink = await world.come_back(3)
    assert events(sink)[-2:] == ["reset", "board"]


@pytest.mark.parametrize(("trimmed", "away"), [(10, False), (0, True)])
async def test_a_past_that_cannot_be_read_is_a_reset_with_its_reason(
    world: World, trimmed: int, away: bool
) -> None:
    world.say(20)
    world.past.trimmed, world.past.away = trimmed, away
    sink = await world.come_back(3)
    assert events(sink) == ["reset", "board"]
    world.say()
    assert numbers(sink) == [21]


async def test_a_past_that_is_trimmed_while_it_is_read_is_a_reset_and_not_a_gap(
    world: World,
) -> None:
    world.say(20)

    def trim() -> None:
        world.past.trimmed += 5

    world.past.between.append(trim)
    sink = await world.come_back(6)
    assert numbers(sink) == [7, 8, 9]
    assert events(sink)[-2:] == ["reset", "board"]


async def test_more_than_is_worth_reading_is_a_reset(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_module, "MAX_EVENTS", 5)
    world.say(20)
    assert events(await world.come_back(3))[-2:] == ["reset", "board"]
    assert numbers(await world.come_back(15)) == [16, 17, 18, 19, 20]


async def test_one_that_comes_from_a_server_that_is_ahead_is_waited_for(world: World) -> None:
    world.say(2)
    ahead = world.say(2, observed_until=False)
    coming = asyncio.create_task(world.come_back(4))
    await asyncio.sleep(0)
    assert not coming.done()
    world.hub.apply(Batch(ahead))
    world.say()
    sink = await coming
    assert numbers(sink) == [5]
    assert "reset" not in events(sink)


async def test_one_that_saw_what_was_lost_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(2)
    assert events(await world.come_back(77)) == ["reset", "board"]
    monkeypatch.setattr(resume_module, "AHEAD_S", 0.01)
    world.say(1, observed_until=False)
    assert events(await world.come_back(3)) == ["reset", "board"]  # this server does not get there


async def test_one_that_takes_nothing_of_what_it_missed_is_let_go(world: World) -> None:
    world.say(20)
    sink = await world.come_back(3, sink=ListSink(room=1))
    assert sink.aborted
    assert world.hub.clients == 0


async def test_one_that_takes_nothing_has_nothing_read_for_it(world: World) -> None:
    """A crowd that came back and took nothing held a page each for the whole write deadline."""
    world.say(20)
    coming = asyncio.create_task(world.come_back(3, sink=ListSink(room=0)))
    await asyncio.sleep(0.05)
    assert world.past.reads == 0
    assert (await coming).aborted


async def test_one_who_appeared_in_what_was_missed_is_told_to_be_alive(world: World) -> None:
    """Whoever came back knew nobody of that name yet when it was told who is alive, and took the newcomer for lost."""
    new = entry(21, "new", heartbeat_s=5)
    world.say(20)
    world.past.entries.append(new)
    world.hub.apply(Batch([new], [Heartbeat("new", "", 90)], observed_until=91))
    world.n = 21
    world.say(10)
    told = messages((await world.come_back(3)).writes)
    after = told[[message.data.get("service") for message in told].index("new") :]
    assert ["new", "", 90] in [
        heartbeat
        for message in after
        if message.event == "heartbeats"
        for heartbeat in message.data["heartbeats"]
    ]


async def test_one_that_takes_a_little_at_a_time_gets_all_of_it(world: World) -> None:
    world.say(20)
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    since = Cursor(3, 0)
    catching_up = asyncio.create_task(world.hub.attach(connection, since))
    while not catching_up.done():
        await eventually(lambda: sink.room == 0 or catching_up.done())
        sink.room = 1
        world.hub.resume_writing(connection)
        await asyncio.sleep(0)
    sink.room = None
    world.hub.resume_writing(connection)
    assert numbers(sink) == list(range(4, 21))


async def test_a_hub_that_closes_meanwhile_ends_the_stream(world: World) -> None:
    world.say(20)
    world.past.between.append(lambda: world.hub.close("stopping"))
    sink = await world.come_back(3)
    assert sink.closed
    bye = messages(sink.writes)[-1]
    assert (bye.event, bye.id) == ("bye", None)  # it comes back from what it saw last
    assert numbers(sink) == list(range(4, 4 + len(numbers(sink))))


async def test_a_hub_that_closes_waits_for_nobody_who_is_still_reading_what_was_missed(
    world: World,
) -> None:
    """Its stream went on for the whole write deadline, and the process was there as long."""
    world.say(20)
    sink = ListSink(room=1)
    coming = asyncio.create_task(world.come_back(3, sink=sink))
    await eventually(lambda: sink.room == 0)
    world.hub.close("stopping")
    await asyncio.wait_for(coming, 0.1)
    assert (sink.closed, sink.aborted) == (True, False)
    assert messages(sink.writes)[-1].event == "bye"


async def test_a_hub_that_closes_waits_for_no_server_that_is_ahead(world: World) -> None:
    world.say(2)
    world.say(2, observed_until=False)
    coming = asyncio.create_task(world.come_back(4))
    await asyncio.sleep(0)
    world.hub.close("stopping")
    sink = await asyncio.wait_for(coming, 1)
    assert [message.event for message in messages(sink.writes)] == ["bye"]


@settings(max_examples=examples(80), deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.integers(1, 6)),
            st.tuples(st.just("come"), st.integers(0, 40)),
            st.tuples(st.just("trim"), st.integers(1, 8)),
            st.tuples(st.just("lose"), st.integers(1, 3)),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 6),
    st.booleans(),
)
async def test_wherever_one_comes_from_it_gets_each_event_once_or_is_told(
    steps: list[tuple[str, int]], ring: int, seed: bool
) -> None:
    """Whoever resumes from an event that there is sees all that followed, in order, unless a reset or a count comes between."""
    world = World(ring)
    came: list[tuple[int, ListSink]] = []
    for step, number in steps:
        if step == "say":
            world.say(number)
        elif step == "trim":
            world.past.trimmed = min(world.past.trimmed + number, len(world.past.entries) - 1)
        elif step == "lose":
            # A failover: the last events never were, and others come in their place.
            del world.past.entries[max(1, len(world.past.entries) - number) :]
            world.past.trimmed = min(world.past.trimmed, len(world.past.entries) - 1)
            world.n += 1
            world.past.entries.append(entry(world.n))
            world.hub.apply(reset(world.n, entry(world.n), reason="a failover"))
        else:
            came.append((number, await world.come_back(number, view=SEED if seed else None)))
    truth = {each.cursor.ms for each in world.past.entries}
    for since, sink in came:
        shown = messages(sink.writes)
        told = [
            m
            for m in shown
            if m.event in ("reset", "skipped", "board") or (seed and "status" not in m.data)
        ]
        seen = numbers(sink)
        assert seen == sorted(set(seen)), "twice, or out of order"
        if not told:
            assert since in {*truth, 0} or since <= max(truth), "resumed from what never was"
            assert seen == [n for n in sorted(truth) if n > since], "a silent gap"
