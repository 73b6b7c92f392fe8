"""How much is kept in Redis: of the feed, and of the history of each service by kind."""

from typing import Annotated, NamedTuple

import msgspec

from pulseboard.bus.keys import BOARD_MAX

DAY_S = 86_400
WEEK_S = 7 * DAY_S
MB = 1_000_000

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Limit(NamedTuple):
    """The most entries and bytes of one stream, and the age (s) at which they go. About: Redis drops nodes of 100 entries."""

    entries: Positive
    size_bytes: Positive
    age_s: Positive


class Limits(msgspec.Struct, frozen=True):
    """The limits of one namespace. The servers set them, and the scripts of every writer go by what was set last.

    By default 50 services fit into 256 MB whatever they say: 50 * 4 MB of history, the feed, and the board.
    """

    feed: Limit = Limit(20_000, 32 * MB, 3_600)
    status: Limit = Limit(1_000, 1 * MB, WEEK_S)
    log: Limit = Limit(20_000, 2 * MB, WEEK_S)
    metric: Limit = Limit(20_000, 1 * MB, WEEK_S)
    board: Positive = BOARD_MAX


DEFAULT_LIMITS = msgspec.json.encode(Limits())
"""What writers bring along, for where no server has set any."""
