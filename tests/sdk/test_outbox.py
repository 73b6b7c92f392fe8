"""The outbox: bounded, and the latest status always wins."""

from hypothesis import given
from hypothesis import strategies as st

from pulseboard.sdk.outbox import Outbox


def test_events_leave_in_the_order_they_came() -> None:
    outbox = Outbox()
    for event in (b"1", b"2", b"3"):
        outbox.offer(event)
    assert outbox.take(2) == [b"1", b"2"]
    assert outbox.take(2) == [b"3"]
    assert outbox.take(2) == []
    assert outbox.dropped == 0


@given(st.lists(st.binary(max_size=40), max_size=60))
def test_it_is_bounded_in_count_and_bytes_and_keeps_the_latest(events: list[bytes]) -> None:
    outbox = Outbox(max_events=5, max_bytes=60)
    for event in events:
        outbox.offer(event)
        assert len(outbox) <= 5
    kept = outbox.take(100)
    assert kept == (events[-len(kept) :] if kept else [])
    assert bool(kept) == bool(events)
    assert sum(map(len, kept)) <= 60
    assert outbox.dropped == len(events) - len(kept)


def test_one_event_larger_than_the_bound_is_still_the_latest() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.offer(b"small")
    outbox.offer(b"x" * 100)
    assert outbox.take(9) == [b"x" * 100]


def test_of_what_could_not_be_sent_only_the_latest_stays() -> None:
    outbox = Outbox()
    outbox.keep_latest([b"1", b"2"])
    assert outbox.take(9) == [b"2"]
    outbox.offer(b"4")
    outbox.keep_latest([b"3"])
    assert outbox.take(9) == [b"4"], "what was said meanwhile is later than what could not be sent"
    assert outbox.dropped == 2
    outbox.keep_latest([])
    assert len(outbox) == 0


def test_the_byte_count_survives_a_failed_send() -> None:
    outbox = Outbox(max_events=100, max_bytes=100)
    for _ in range(50):
        outbox.offer(b"x" * 40)
        outbox.keep_latest(outbox.take(9))
    outbox.take(9)
    for _ in range(2):
        outbox.offer(b"x" * 40)
    assert len(outbox) == 2
