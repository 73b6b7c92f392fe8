"""The outbox is bounded, keeps the latest status, and has counts that add up."""

import signal
import threading
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.examples import examples
from tests.support.sdk import interrupt_before_line

from pulseboard.sdk.outbox import Outbox, QueuedStatus, RunMarker

MAX_EVENTS, MAX_BYTES, BATCH_MAX = 8, 120, 3
QUEUE_CAPACITY = MAX_EVENTS - BATCH_MAX
"""Capacity of the queue, so that with a drained batch there are at most MAX_EVENTS events."""
RUN = 1
MARKER = RunMarker(RUN)


def put(outbox: Outbox, text: str, marker: RunMarker = MARKER) -> None:
    outbox.replace({"t": text})
    if marker.stopped:
        outbox.put_last(marker)
    else:
        outbox.put_current(outbox.make_source(marker))


def json_text(text: str) -> bytes:
    return b'{"t":"%s"}' % text.encode()


def drain(outbox: Outbox, run: int = RUN) -> list[QueuedStatus]:
    outbox.begin_run(run)
    return outbox.drain() or []


def coalesce(outbox: Outbox, run: int = RUN) -> None:
    outbox.begin_run(run)
    outbox.coalesce()


def texts(batch: list[QueuedStatus]) -> list[str]:
    return [msgspec.json.decode(status.json).get("t", "") for status in batch]


def size(waiting: list[str]) -> int:
    return sum(len(json_text(text)) for text in waiting)


def adds_up(outbox: Outbox) -> bool:
    counts = outbox.counts()
    return counts.offered == counts.sent + counts.overflowed + counts.coalesced + counts.waiting


def drain_all(outbox: Outbox, run: int = RUN) -> list[str]:
    drained = []
    while batch := drain(outbox, run):
        drained += texts(batch)
        outbox.confirm()
    return drained


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def test_events_are_drained_in_order() -> None:
    outbox = Outbox(batch_max=2)
    for text in "123":
        put(outbox, text)
    assert texts(drain(outbox)) == ["1", "2"]
    outbox.confirm()
    assert texts(drain(outbox)) == ["3"]
    outbox.confirm()
    assert drain(outbox) == []
    assert outbox.counts() == (3, 3, 0, 0, 0, 0)


def test_each_event_is_the_whole_status_at_that_moment() -> None:
    outbox = Outbox()
    source = outbox.make_source(MARKER)
    outbox.merge({"a": msgspec.Raw(b"1")})
    outbox.put_current(source)
    outbox.merge({"b": 2})
    outbox.put_current(source)
    outbox.replace({})
    assert [status.json for status in drain(outbox)] == [b'{"a":1}', b'{"a":1,"b":2}']


@given(st.lists(st.text("x", max_size=60), max_size=60))
def test_outbox_is_bounded_in_count_and_bytes_and_keeps_the_latest(offered: list[str]) -> None:
    outbox = Outbox(MAX_EVENTS, MAX_BYTES, BATCH_MAX)
    for text in offered:
        put(outbox, text)
        assert outbox.counts().waiting <= QUEUE_CAPACITY
        assert outbox.counts().waiting_bytes <= MAX_BYTES
    overflowed = outbox.counts().overflowed
    kept = drain_all(outbox)
    assert kept == offered[len(offered) - len(kept) :]
    assert bool(kept) == bool(offered)
    assert overflowed == len(offered) - len(kept)


def test_event_larger_than_the_limit_is_kept_as_the_latest() -> None:
    outbox = Outbox(max_bytes=10)
    put(outbox, "small")
    put(outbox, "x" * 100)
    assert drain_all(outbox) == ["x" * 100]


def test_coalesce_keeps_only_the_latest_unsent_status() -> None:
    outbox = Outbox()
    put(outbox, "1")
    put(outbox, "2")
    drain(outbox)
    coalesce(outbox)
    assert drain_all(outbox) == ["2"]
    put(outbox, "3")
    drain(outbox)
    put(outbox, "4")
    coalesce(outbox)
    assert drain_all(outbox) == ["4"], "a status put meanwhile is later than the unsent one"
    assert outbox.counts() == (4, 2, 0, 2, 0, 0)
    coalesce(outbox)
    assert outbox.counts().waiting == 0


def test_status_after_the_graceful_stop_is_not_sent() -> None:
    """One thread once updated the status while another stopped the service.

    The update was then a sign of life of a stopped service.
    """
    outbox = Outbox()
    put(outbox, "1")
    put(outbox, "bye", RunMarker(RUN, stopped=True))
    put(outbox, "late")
    assert texts(drain(outbox)) == ["1", "bye"]
    coalesce(outbox)
    assert drain_all(outbox) == ["bye"]
    assert outbox.counts() == (3, 1, 0, 2, 0, 0)


@pytest.mark.parametrize("line", range(4))
@pytest.mark.parametrize("sends", [False, True])
def test_interrupted_thread_does_not_put_an_older_status_after_a_newer(
    line: int, sends: bool
) -> None:
    outbox = Outbox()
    source = outbox.make_source(MARKER)
    sent: list[dict[str, int]] = []

    def send() -> None:
        while batch := drain(outbox):
            sent.extend(msgspec.json.decode(status.json) for status in batch)
            outbox.confirm()

    def meanwhile() -> None:
        outbox.merge({"b": 2})
        outbox.put_current(source)
        if sends:
            send()

    outbox.merge({"a": 1})
    with interrupt_before_line(Outbox.put_current, line, meanwhile) as was_interrupted:
        outbox.put_current(source)
    assert was_interrupted()
    send()
    assert sent[-1] == {"a": 1, "b": 2}
    assert sent == sorted(sent, key=len)
    counts = outbox.counts()
    assert (counts.offered, counts.sent + counts.coalesced, counts.waiting) == (2, 2, 0)


@pytest.mark.parametrize("line", range(2))
def test_last_status_is_sent_even_if_its_thread_is_interrupted(line: int) -> None:
    """A status that another thread puts meanwhile may be sent before the last status.

    A last status with an older number would not be sent.
    """
    outbox = Outbox()
    sent: list[QueuedStatus] = []

    def meanwhile() -> None:
        outbox.put_current(outbox.make_source(MARKER))
        sent.extend(drain(outbox))
        outbox.confirm()

    with interrupt_before_line(Outbox.put_last, line, meanwhile) as was_interrupted:
        outbox.put_last(RunMarker(RUN, stopped=True))
    assert was_interrupted()
    sent.extend(drain(outbox))
    assert sent[-1].marker.stopped


def test_status_that_was_encoded_but_never_queued_is_noticed() -> None:
    outbox = Outbox()
    source = outbox.make_source(MARKER)

    def abort() -> None:
        raise TimeoutError

    for line, misses in enumerate([False, True, False, False]):
        with suppress(TimeoutError), interrupt_before_line(Outbox.put_current, line, abort):
            outbox.put_current(source)
        assert not outbox.misses_latest or misses
        drain_all(outbox)
        assert outbox.misses_latest == misses
        put(outbox, "next")
        drain_all(outbox)
        assert not outbox.misses_latest


def test_status_overtaken_by_one_of_an_earlier_run_is_noticed() -> None:
    outbox = Outbox()

    def meanwhile() -> None:
        outbox.put_current(outbox.make_source(RunMarker(1)))
        drain(outbox, 2)

    with interrupt_before_line(Outbox.put_current, 1, meanwhile):
        outbox.put_current(outbox.make_source(RunMarker(2)))
    assert drain(outbox, 2) == []
    assert outbox.misses_latest


def test_each_run_sends_only_its_own_statuses() -> None:
    """Statuses of another run are not sent.

    Those of an earlier run are outdated by the first event of the later run. Those of a later
    run are left to that run.
    """
    outbox = Outbox()
    put(outbox, "bye", RunMarker(1, stopped=True))
    put(outbox, "again", RunMarker(2))
    put(outbox, "late", RunMarker(1))
    put(outbox, "more", RunMarker(2))
    assert texts(drain(outbox, 1)) == ["bye"]
    coalesce(outbox, 1)
    assert texts(drain(outbox, 2)) == ["again", "more"]
    outbox.confirm()
    assert outbox.counts() == (4, 2, 0, 2, 0, 0)


class OutboxMachine(RuleBasedStateMachine):
    """Any order of operations on an outbox, compared with a model made of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(MAX_EVENTS, MAX_BYTES, BATCH_MAX)
        self.queued: list[str] = []
        self.held: list[str] = []
        self.offered = self.sent = self.overflowed = self.coalesced = 0
        self.last = self.last_sent = ""

    @property
    def waiting(self) -> list[str]:
        return self.held + self.queued

    @rule(length=st.integers(0, 60))
    def offer(self, length: int) -> None:
        self.offered += 1
        self.last = f"{self.offered}:" + "x" * length
        put(self.outbox, self.last)
        self.queued.append(self.last)
        while len(self.queued) > 1 and (
            len(self.queued) > QUEUE_CAPACITY or size(self.waiting) > MAX_BYTES
        ):
            self.queued.pop(0)
            self.overflowed += 1

    @rule()
    def drain(self) -> None:
        count = max(0, BATCH_MAX - len(self.held))
        self.held, self.queued = self.held + self.queued[:count], self.queued[count:]
        assert texts(drain(self.outbox)) == self.held

    @precondition(lambda self: self.held)
    @rule()
    def confirm(self) -> None:
        self.outbox.confirm()
        self.sent += len(self.held)
        self.last_sent = self.held[-1]
        self.held = []

    @rule()
    def fail(self) -> None:
        coalesce(self.outbox)
        self.coalesced += max(0, len(self.waiting) - 1)
        self.held, self.queued = self.waiting[-1:], []

    @invariant()
    def counts_are_exact(self) -> None:
        sums = (
            self.offered,
            self.sent,
            self.overflowed,
            self.coalesced,
            len(self.waiting),
            size(self.waiting),
        )
        assert self.outbox.counts() == sums
        assert adds_up(self.outbox)
        assert len(self.waiting) <= MAX_EVENTS

    @invariant()
    def the_latest_is_never_dropped(self) -> None:
        assert self.last in [*self.waiting, self.last_sent]


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(
    max_examples=examples(150), stateful_step_count=40, deadline=None
)


def test_counts_add_up_while_many_threads_put_and_one_sends() -> None:
    outbox = Outbox(max_events=50, max_bytes=1_000, batch_max=7)
    done = threading.Event()
    wrong_counts: list[object] = []
    sent: list[str] = []
    source = outbox.make_source(MARKER)

    def offer(worker: int) -> None:
        for n in range(1_000):
            outbox.merge({str(worker): n})
            outbox.put_current(source)

    def send() -> None:
        turn = 0
        while not done.is_set() or outbox.counts().waiting:
            turn += 1
            batch = drain(outbox)
            if turn % 3:
                outbox.confirm()
                sent.extend(status.json.decode() for status in batch)
            else:
                coalesce(outbox)

    def watch() -> None:
        while not done.wait(0.001):
            counts = outbox.counts()
            if min(counts) < 0 or counts.waiting > 50 or not adds_up(outbox):
                wrong_counts.append(counts)

    workers = [threading.Thread(target=offer, args=(worker,)) for worker in range(6)]
    others = [threading.Thread(target=send), threading.Thread(target=watch)]
    for thread in [*workers, *others]:
        thread.start()
    join(workers)
    done.set()
    join(others)
    counts = outbox.counts()
    assert wrong_counts == []
    assert (counts.offered, counts.sent, counts.waiting, counts.waiting_bytes) == (
        6_000,
        len(sent),
        0,
        0,
    )
    assert adds_up(outbox)
    statuses = [msgspec.json.decode(json, type=dict[str, int]) for json in sent]
    assert statuses[-1] == {str(worker): 999 for worker in range(6)}
    for worker in range(6):
        values = [status.get(str(worker), -1) for status in statuses]
        assert values == sorted(values), "an older status came after a newer one"


def test_counts_add_up_when_a_signal_handler_interrupts_a_put() -> None:
    """A sum that is read, changed and written loses the changes made between these steps.

    A reentrant lock does not prevent this, because a signal handler may enter it again.
    """
    outbox = Outbox(max_events=12, batch_max=2)
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        put(outbox, "from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    offered = 0
    try:
        while handled < 500:
            offered += 1
            put(outbox, "x" * (offered % 50))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    counts = outbox.counts()
    assert counts.offered == offered + handled
    assert adds_up(outbox)
    assert counts.waiting == 10
    assert counts.waiting_bytes == size(drain_all(outbox))
