"""The ring: it equals a list of which only the end is kept."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.hub.ring import Choice, Frame, Ring
from pulseboard.wire.cursor import Cursor

START = Cursor(0, 0)


def frame(ms: int, size: int = 10) -> Frame:
    return Frame(Cursor(ms, 0), "status", "a", b"x" * size, None)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3), st.integers(0, 60)),
        st.tuples(st.just("clear"), st.integers(0, 3), st.just(0)),
    ),
    max_size=200,
)


@given(steps, st.integers(1, 12), st.integers(1, 300))
def test_ring_equals_the_end_of_a_list(
    steps: list[tuple[str, int, int]], max_frames: int, max_bytes: int
) -> None:
    ring = Ring(max_frames, max_bytes)
    ring.clear(START)
    # Every frame that was appended; `first` is the number of the oldest one in the ring.
    model: list[Frame] = []
    first, floor, ms = 0, START, 0
    for kind, advance, size in steps:
        # Several frames may have one cursor: a ping has that of the event before it.
        ms += advance
        if kind == "clear":
            ring.clear(Cursor(ms, 0))
            first, floor = len(model), Cursor(ms, 0)
        else:
            ring.append(frame(ms, size))
            model.append(frame(ms, size))
            while len(model) - first > max_frames or (
                len(model) - first > 1 and sum(each.size for each in model[first:]) > max_bytes
            ):
                floor = model[first].cursor
                first += 1
        assert (ring.first, ring.end, ring.floor) == (first, len(model), floor)
        assert ring.read(ring.first, 1 << 30) == model[first:]
        issued = {floor} | {each.cursor for each in model[first:]}
        for probe in range(-1, ms + 2):
            cursor = Cursor(probe, 0)
            expected = (
                first + sum(each.cursor <= cursor for each in model[first:])
                if cursor in issued
                else None
            )
            assert ring.find(cursor) == expected


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 120))
def test_repeated_reads_give_each_frame_once_within_the_byte_limit(
    sizes: list[int], max_bytes: int
) -> None:
    ring = Ring()
    for ms, size in enumerate(sizes):
        ring.append(frame(ms, size))
    read: list[Frame] = []
    while len(read) < len(sizes):
        part = ring.read(len(read), max_bytes)
        assert part, "a read must return at least one frame"
        assert len(part) == 1 or sum(each.size for each in part) <= max_bytes
        read += part
    assert [each.cursor.ms for each in read] == list(range(len(sizes)))
    assert ring.read(ring.end, max_bytes) == []


def test_ring_keeps_at_most_its_maximum_of_frames() -> None:
    ring = Ring(max_frames=100)
    for ms in range(10_000):
        ring.append(frame(ms))
    assert ring.end - ring.first == 100
    assert len(ring._frames) <= 2 * 100 + 64  # dropped frames are released


def test_frame_larger_than_the_ring_is_still_delivered() -> None:
    ring = Ring(max_frames=10, max_bytes=50)
    ring.append(frame(1))
    ring.append(frame(2, size=500))
    assert [each.cursor.ms for each in ring.read(ring.first, 1)] == [2]


def test_ring_that_was_never_started_finds_no_cursor() -> None:
    assert Ring().find(START) is None


def test_cursor_of_no_frame_is_not_found() -> None:
    """After a failover the feed lacks its last events.

    A client that saw one of them must not resume as if it still existed.
    """
    ring = Ring()
    ring.clear(Cursor(100, 0))
    ring.append(frame(102))
    assert ring.find(Cursor(100, 0)) == ring.first
    assert ring.find(Cursor(101, 0)) is None
    assert ring.find(Cursor(102, 0)) == ring.end


@given(
    st.lists(
        st.tuples(st.sampled_from(["status", "lifecycle", None]), st.sampled_from(["a", "b"])),
        max_size=60,
    ),
    st.integers(1, 8),
    st.data(),
)
def test_skipped_frames_are_counted_exactly_for_every_choice(
    events: list[tuple[str | None, str]], size: int, data: st.DataObject
) -> None:
    """The ring marks the position of a client while frames are appended and dropped.

    Later it counts the frames between the mark and its end.
    """
    choice = Choice(
        data.draw(st.sampled_from([None, frozenset({"status"}), frozenset({"heartbeats"})])),
        data.draw(st.sampled_from([None, frozenset({"a"}), frozenset({"a", "z"})])),
    )
    ring = Ring(max_frames=size)
    position, mark = 0, ring.mark(0, choice)
    for n, (kind, service) in enumerate(events):
        ring.append(Frame(Cursor(n + 1, 0), kind, service, b"", None))
        if data.draw(st.booleans()) and position >= ring.first:
            position = data.draw(st.integers(max(position, ring.first), ring.end))
            mark = ring.mark(position, choice, mark)
    end = data.draw(st.integers(max(position, ring.first), ring.end))
    between = [
        (kind, service)
        for kind, service in events[position:end]
        if kind and choice.includes(kind, service)
    ]
    assert ring.count_since(mark, end, choice) == Counter(kind for kind, _ in between)


def test_flood_of_service_names_makes_the_count_unknown_and_stays_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.hub.ring.MAX_COUNTED", 10)
    ring = Ring()
    mark = ring.mark(0, Choice())
    for n in range(25):
        ring.append(Frame(Cursor(n + 1, 0), "status", f"s{n}", b"", None))
        assert len(ring._by_service) <= 10
    assert ring.count_since(mark, ring.end, Choice()) is None


def test_dropped_frames_take_no_memory() -> None:
    """The list is compacted only when its length has doubled.

    Until then the ring held twice its maximum of bytes.
    """
    ring = Ring(max_bytes=1_000)
    ring.clear(START)
    for ms in range(1_000):
        ring.append(frame(ms, 10))
        assert sum(each.size for each in ring._frames) <= 1_000
