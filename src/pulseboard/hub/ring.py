"""The ring: the last frames in one order. A reader is a position in it; what it has not read yet is its only queue."""

from dataclasses import dataclass, field

from pulseboard.wire.cursor import Cursor

MAX_FRAMES = 8_192
MAX_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to readers, encoded once.

    `full` is what `/api/stream` sends and `seed` what the seed's stream sends; None is nothing. `kind` None is for everyone.
    """

    cursor: Cursor
    kind: str | None
    service: str | None
    full: bytes | None
    seed: bytes | None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.full or b"") + len(self.seed or b""))


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
        while self.end - self.first > self._max_frames or (self._bytes > self._max_bytes and self.end - self.first > 1):
            oldest = self._frames[self._dropped]
            self._bytes -= oldest.size
            self.floor = oldest.cursor
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
