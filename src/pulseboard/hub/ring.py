"""The ring: the last frames in one order.

A client is a position in the ring: the frames after that position are its only queue.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from pulseboard.wire.cursor import ZERO, Cursor

MAX_FRAMES = 8_192
MAX_BYTES = 32 * 1024 * 1024
MAX_COUNTED = 20_000
"""The pairs of kind and service that frames are counted for; at one more, all counts restart."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to clients, encoded once.

    `full` is what the event stream sends and `status_stream` what the status stream sends; None
    sends nothing. A `kind` of None is for every view. `count` is the number of events in the
    message: a log message has many lines.
    """

    cursor: Cursor
    kind: str | None
    service: str | None
    full: bytes | None
    status_stream: bytes | None
    count: int = 1
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.full or b"") + len(self.status_stream or b""))


_DROPPED = Frame(ZERO, None, None, None, None)


class Choice(NamedTuple):
    """The kinds and services that a view selects; None selects all."""

    kinds: frozenset[str] | None = None
    services: frozenset[str] | None = None

    def includes(self, kind: str, service: str) -> bool:
        """Return whether events of this kind and service are selected."""
        return (self.kinds is None or kind in self.kinds) and (
            self.services is None or service in self.services
        )


class Mark(NamedTuple):
    """The number of selected events before a position, by kind.

    Marks are comparable only within one `era`, which ends when all counts restart.
    """

    position: int
    counts: Counter[str]
    era: int


class Ring:
    """The last frames, bounded in count and bytes. All frames ever appended are numbered from 0.

    A client can resume from any cursor that is not older than `floor`.
    """

    def __init__(self, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: list[Frame] = []
        self._dropped = 0  # How many entries at the front of the list are dropped frames.
        self._start = 0  # The number of the first frame in the list.
        self._bytes = 0
        self._by_kind: Counter[str] = Counter()
        self._by_service: Counter[tuple[str, str]] = Counter()
        self._era = 0
        self.floor: Cursor | None = None

    @property
    def first(self) -> int:
        """The number of the oldest frame held."""
        return self._start + self._dropped

    @property
    def end(self) -> int:
        """The number that the next frame will have."""
        return self._start + len(self._frames)

    def append(self, frame: Frame) -> None:
        """Append one frame, and drop the oldest frames while the ring is over its bounds."""
        self._frames.append(frame)
        self._bytes += frame.size
        self._count_frame(frame)
        while self.end - self.first > self._max_frames or (
            self._bytes > self._max_bytes and self.end - self.first > 1
        ):
            oldest = self._frames[self._dropped]
            self._bytes -= oldest.size
            self.floor = oldest.cursor
            self._frames[self._dropped] = _DROPPED  # This frees its bytes at once.
            self._dropped += 1
        # Deleting the front of the list costs its length, so that happens at every doubling only.
        if self._dropped > 64 and self._dropped * 2 > len(self._frames):
            del self._frames[: self._dropped]
            self._start += self._dropped
            self._dropped = 0

    def clear(self, floor: Cursor) -> None:
        """Drop every frame. Clients can resume from `floor`, and from nothing older."""
        self._start = self.end
        self._frames.clear()
        self._dropped = self._bytes = 0
        self.floor = floor

    def read(self, position: int, max_bytes: int) -> list[Frame]:
        """Return the frames from `position` on: at most `max_bytes`, but one frame at least."""
        frames: list[Frame] = []
        size = 0
        for index in range(position - self._start, len(self._frames)):
            frame = self._frames[index]
            size += frame.size
            if frames and size > max_bytes:
                break
            frames.append(frame)
        return frames

    def find(self, cursor: Cursor) -> int | None:
        """Return the position after the frames that a client at `cursor` has received.

        Returns None for a cursor that is not of a frame in the ring. A cursor between two frames
        belongs to an event that Redis has lost since, so its client holds data that is not valid.
        """
        if self.floor is None or cursor < self.floor:
            return None
        low, high = self._dropped, len(self._frames)
        while low < high:
            middle = (low + high) // 2
            if self._frames[middle].cursor > cursor:
                high = middle
            else:
                low = middle + 1
        known = self._frames[low - 1].cursor if low > self._dropped else self.floor
        return self._start + low if cursor == known else None

    def mark(self, position: int, choice: Choice, before: Mark | None = None) -> Mark:
        """Return how many selected events precede a position in the ring.

        Counts forward from `before`, or back from the end: from the nearer of the two.
        """
        if (
            before is not None
            and before.era == self._era
            and before.position >= self.first
            and position - before.position < self.end - position
        ):
            counts = before.counts + self._count(before.position, position, choice)
        else:
            counts = self._total(choice) - self._count(position, self.end, choice)
        return Mark(position, counts, self._era)

    def count_since(self, mark: Mark, position: int, choice: Choice) -> Counter[str] | None:
        """Return the number of selected events between a mark and a position, by kind.

        Returns None if the counts have restarted since the mark.
        """
        return self.mark(position, choice).counts - mark.counts if mark.era == self._era else None

    def _total(self, choice: Choice) -> Counter[str]:
        kinds = [kind for kind in self._by_kind if choice.kinds is None or kind in choice.kinds]
        if choice.services is None:
            return Counter({kind: self._by_kind[kind] for kind in kinds})
        return Counter(
            {kind: sum(self._by_service[kind, name] for name in choice.services) for kind in kinds}
        )

    def _count(self, start: int, end: int, choice: Choice) -> Counter[str]:
        counts: Counter[str] = Counter()
        for frame in self._frames[start - self._start : end - self._start]:
            if frame.kind and frame.service and choice.includes(frame.kind, frame.service):
                counts[frame.kind] += frame.count
        return counts

    def _count_frame(self, frame: Frame) -> None:
        if frame.kind is None or frame.service is None:
            return
        if (
            len(self._by_service) >= MAX_COUNTED
            and (frame.kind, frame.service) not in self._by_service
        ):
            self._by_service.clear()
            self._by_kind.clear()
            self._era += 1
        self._by_service[frame.kind, frame.service] += frame.count
        self._by_kind[frame.kind] += frame.count
