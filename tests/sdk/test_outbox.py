"""The outbox: bounded, the latest status always wins, and its counts always add up."""

import signal
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pulseboard.bus.publisher import Outgoing
from pulseboard.sdk.outbox import Outbox

MAX_EVENTS, MAX_BYTES = 5, 60


def event(json: bytes) -> Outgoing:
    return Outgoing("balance-sync", "w-1", json)


def events(*jsons: bytes) -> list[Outgoing]:
    return [event(json) for json in jsons]


def size(waiting: list[Outgoing]) -> int:
    return sum(len(one.json) for one in waiting)


def adds_up(outbox: Outbox) -> bool:
    counts = outbox.counts()
    return counts.offered == counts.sent + counts.overflowed + counts.coalesced + counts.waiting


def test_events_leave_in_the_order_they_came() -> None:
    outbox = Outbox()
    for one in events(b"1", b"2", b"3"):
        outbox.offer(one)
    assert outbox.take(2) == events(b"1", b"2")
    assert outbox.take(2) == events(b"3")
    assert outbox.take(2) == []
    assert outbox.counts().overflowed == 0


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_it_is_bounded_in_count_and_bytes_and_keeps_the_latest(jsons: list[bytes]) -> None:
    outbox = Outbox(MAX_EVENTS, MAX_BYTES)
    for json in jsons:
        outbox.offer(event(json))
        assert len(outbox) <= MAX_EVENTS
    kept = outbox.take(100)
    assert kept == events(*jsons[len(jsons) - len(kept) :])
    assert bool(kept) == bool(jsons)
    assert size(kept) <= MAX_BYTES
    assert outbox.counts().overflowed == len(jsons) - len(kept)


def test_one_event_larger_than_the_bound_is_still_the_latest() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.offer(event(b"small"))
    outbox.offer(event(b"x" * 100))
    assert outbox.take(9) == events(b"x" * 100)


def test_of_what_could_not_be_sent_only_the_latest_stays() -> None:
    outbox = Outbox()
    for one in events(b"1", b"2"):
        outbox.offer(one)
    outbox.keep_latest(outbox.take(9))
    assert outbox.take(9) == events(b"2")
    outbox.confirm(events(b"2"))
    outbox.offer(event(b"3"))
    unsent = outbox.take(9)
    outbox.offer(event(b"4"))
    outbox.keep_latest(unsent)
    assert outbox.take(9) == events(b"4"), "what was said meanwhile is later than what could not be sent"
    outbox.confirm(events(b"4"))
    assert outbox.counts() == (4, 2, 0, 2, 0, 0)
    outbox.keep_latest()
    assert len(outbox) == 0


class Dealings(RuleBasedStateMachine):
    """Any order of dealings with an outbox, beside a plain list of what must be in it."""

    max_bytes = 4 * MAX_BYTES
    """So that either bound is met now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(MAX_EVENTS, self.max_bytes)
        self.queued: list[Outgoing] = []
        self.taken: list[list[Outgoing]] = []
        self.offered = self.sent = self.dropped = 0
        self.last: Outgoing | None = None
        self.last_sent: Outgoing | None = None

    @property
    def waiting(self) -> list[Outgoing]:
        return self.queued + [one for batch in self.taken for one in batch]

    @rule(length=st.integers(0, 80))
    def offer(self, length: int) -> None:
        self.offered += 1
        self.last = event(b"%d:" % self.offered + b"x" * length)
        self.outbox.offer(self.last)
        self.queued.append(self.last)
        while len(self.queued) > 1 and (len(self.waiting) > MAX_EVENTS or size(self.waiting) > self.max_bytes):
            self.queued.pop(0)
            self.dropped += 1

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        expected, self.queued = self.queued[:count], self.queued[count:]
        assert self.outbox.take(count) == expected
        if expected:
            self.taken.append(expected)

    @precondition(lambda self: self.taken)
    @rule()
    def confirm(self) -> None:
        batch = self.taken.pop(0)
        self.outbox.confirm(batch)
        self.sent += len(batch)
        self.last_sent = batch[-1]

    @rule(had_taken=st.booleans())
    def fail(self, had_taken: bool) -> None:
        batch = self.taken.pop() if self.taken and had_taken else []
        self.outbox.keep_latest(batch)
        waiting = batch + self.queued
        self.dropped += max(0, len(waiting) - 1)
        self.queued = waiting[-1:]

    @invariant()
    def counts_are_exact(self) -> None:
        counts = self.outbox.counts()
        assert adds_up(self.outbox)
        assert (counts.offered, counts.sent, counts.overflowed + counts.coalesced) == (
            self.offered,
            self.sent,
            self.dropped,
        )
        assert (counts.waiting, counts.waiting_bytes) == (len(self.waiting), size(self.waiting))
        assert len(self.outbox) == len(self.waiting)

    @invariant()
    def the_latest_is_never_dropped(self) -> None:
        assert self.last is None or self.last in self.waiting or self.last == self.last_sent


TestDealings = Dealings.TestCase
TestDealings.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_counts_add_up_while_many_threads_offer_and_one_sends() -> None:
    outbox = Outbox(max_events=50)
    done = threading.Event()
    wrong: list[object] = []

    def offer(worker: int) -> None:
        for n in range(1_000):
            outbox.offer(event(b"%d/%d" % (worker, n)))

    def send() -> None:
        turn = 0
        while not done.is_set() or len(outbox):
            turn += 1
            batch = outbox.take(7)
            if turn % 3:
                outbox.confirm(batch)
            else:
                outbox.keep_latest(batch)

    def watch() -> None:
        while not done.wait(0.001):
            if not adds_up(outbox):
                wrong.append(outbox.counts())

    workers = [threading.Thread(target=offer, args=(worker,)) for worker in range(6)]
    others = [threading.Thread(target=send), threading.Thread(target=watch)]
    for thread in [*workers, *others]:
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    for thread in others:
        thread.join()
    counts = outbox.counts()
    assert wrong == []
    assert (counts.offered, counts.waiting, counts.waiting_bytes) == (6_000, 0, 0)
    assert adds_up(outbox)


def test_the_counts_add_up_when_a_signal_handler_offers_in_the_middle_of_an_offer() -> None:
    """Sums that are read, changed and written lose what comes between: a lock that a handler may pass keeps nothing."""
    outbox = Outbox(max_events=10)
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        outbox.offer(event(b"from the handler"))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    offered = 0
    try:
        while handled < 500:
            offered += 1
            outbox.offer(event(b"x" * (offered % 50)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    counts = outbox.counts()
    assert counts.offered == offered + handled
    assert adds_up(outbox)
    assert counts.waiting == 10
    assert counts.waiting_bytes == size(outbox.take(99))
