"""The position of a feed reader: the last entries that it has read."""

from typing import NamedTuple

from pulseboard.wire.cursor import Cursor


class FeedPosition(NamedTuple):
    """The last entries that were read.

    `cursor` belongs to the feed, `heartbeats` to the heartbeat stream.
    """

    cursor: Cursor
    heartbeats: Cursor
    entries_added: int
    """How many entries had been added to the feed up to `cursor`, as Redis counts them.

    A feed that was trimmed or lost beyond the reader shows by this number.
    """
