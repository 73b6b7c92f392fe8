"""The cursor: a position in the feed. It is a Redis stream id, so its time is Redis' clock."""

import re
from typing import NamedTuple, Self

MAX_PART = 2**64 - 1
_CURSOR = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)


class Cursor(NamedTuple):
    """A stream id, `<ms>-<seq>`, in the order of Redis.

    See https://redis.io/docs/latest/develop/data-types/streams/.
    """

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Parse `<ms>-<seq>`; raise ValueError for any other text."""
        match = _CURSOR.fullmatch(
            text.decode("ascii", "replace") if isinstance(text, bytes) else text
        )
        if match is None:
            raise ValueError(
                f"{text[:60]!r} is not a feed id; a feed id looks like 1763890000123-0"
            )
        ms, seq = int(match[1]), int(match[2])
        if max(ms, seq) > MAX_PART:
            raise ValueError(f"{match[0]!r} is not a feed id; its numbers can have at most 64 bits")
        return cls(ms, seq)

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


ZERO = Cursor(0, 0)
"""The position before the first entry of any stream."""
