"""The ring: the last frames in one order. A reader is a position in it; what it has not read yet is its only queue."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from pulseboard.wire.cursor import ZERO, Cursor

MAX_FRAMES = 8_192
MAX_BYTES = 32 * 1024 * 1024
MAX_TALLIED = 20_000
"""Services that frames are counted for; with more than these, the counting begins anew."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to readers, encoded once.

    `full` is what `/api/stream` sends and `seed` what the seed's stream sends; None is nothing. `kind` None is for everyone.
    `count` is how many events it tells of: a log has many lines.
    """

    cursor: Cursor
    kind: str | None
    service: str | None
    full: bytes | None
    seed: bytes | None
    count: int = 1
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.full or b"") + len(self.seed or b""))


_GONE = Frame(ZERO, None, None, None, None)


class Choice(NamedTuple):
    """Which events a reader wants; None is all."""

    kinds: frozenset[str] | None = None
    services: frozenset[str] | None = None

    def takes(self, kind: str, service: str) -> bool:
        return (self.kinds is None or kind in self.kinds) and (
            self.services is None or service in self.services
        )


class Mark(NamedTuple):
    """How many events of a choice, by kind, had come before a position. Comparable only within one `era`."""

    position: int
    counts: Counter[str]
    era: int


class Ring:
    """Frames numbered from 0 on, of which the last are held, bounded in count and bytes.

    A resume is possible from any cursor not older than `floor`.
    """

    def __init__(self, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._frames: list[Frame] = []
        self._dropped = 0  # how many of the front of the list are no longer held
        self._start = 0  # the number of the first frame in the list
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
        """Add one frame, at the price of the oldest when there is no room."""
        self._frames.append(frame)
        self._bytes += frame.size
        self._tally(frame)
        while self.end - self.first > self._max_frames or (
            self._bytes > self._max_bytes and self.end - self.first > 1
        ):
            oldest = self._frames[self._dropped]
            self._bytes -= oldest.size
            self.floor = oldest.cursor
            self._frames[self._dropped] = _GONE  # its bytes go at once, not when the list moves up
            self._dropped += 1
        # Moving the list up at each frame would cost its length each time; at every doubling it costs nothing to speak of.
        if self._dropped > 64 and self._dropped * 2 > len(self._frames):
            del self._frames[: self._dropped]
            self._start += self._dropped
            self._dropped = 0

    def clear(self, floor: Cursor) -> None:
        """Drop every frame: what came before `floor` has no continuation here."""
        self._start = self.end
        self._frames.clear()
        self._dropped = self._bytes = 0
        self.floor = floor

    def read(self, position: int, max_bytes: int) -> list[Frame]:
        """Return the frames from `position` on, up to `max_bytes` of them but at least one if there is one."""
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
        """Return the position after all that a reader at `cursor` has seen, or None when the ring cannot say.

        It can say only for a cursor that it knows: one between two of its frames is of an event that Redis has lost since,
        so that whoever saw it holds something that is true no more.
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
        """Return how many events of a choice came before a position that is held.

        Counted on from `before`, or back from the end, whichever is nearer.
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
        """Return by kind how many events lie between a mark and a position that is held; None when that is no longer known."""
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
            if frame.kind and frame.service and choice.takes(frame.kind, frame.service):
                counts[frame.kind] += frame.count
        return counts

    def _tally(self, frame: Frame) -> None:
        if frame.kind is None or frame.service is None:
            return
        if (
            len(self._by_service) >= MAX_TALLIED
            and (frame.kind, frame.service) not in self._by_service
        ):
            self._by_service.clear()
            self._by_kind.clear()
            self._era += 1
        self._by_service[frame.kind, frame.service] += frame.count
        self._by_kind[frame.kind] += frame.count
