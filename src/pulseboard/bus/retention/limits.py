"""How much is kept in Redis: of the feed, of the history of each service by kind, of the audit and of incidents."""

import re
from typing import Annotated, NamedTuple

import msgspec

from pulseboard.bus.keys import BOARD_MAX
from pulseboard.wire.errors import ConfigError
from pulseboard.wire.kinds import HISTORIES, HistoryKind

DAY_S = 86_400
WEEK_S = 7 * DAY_S
MB = 1_000_000

MOST_ENTRIES = 10_000_000
MOST_MB = 100_000
MOST_DAYS = 3_650

_UNITS_S = {"d": DAY_S, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(
    r"(?P<entries>\d{1,9})|(?P<mb>\d{1,9}(\.\d{1,3})?)mb|(?P<age>\d{1,9})(?P<unit>[dhms])",
    re.ASCII | re.IGNORECASE,
)

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Limit(NamedTuple):
    """The most entries and bytes of one stream, and the age (s) at which they go. About: Redis drops nodes of 100 entries."""

    entries: Positive
    size_bytes: Positive
    age_s: Positive

    @classmethod
    def parse(cls, text: str, default: "Limit", *, least_entries: int = 100) -> "Limit":
        """Read `20000,32MB,1h`, in any order; what is not named is that of `default`. Raise ConfigError for anything else."""
        found = dict(zip(cls._fields, default, strict=True))
        named = set()
        for part in filter(None, re.split(r"[,\s]+", text)):
            match = _PART.fullmatch(part)
            if match is None:
                raise ConfigError(
                    f"{part[:40]!r} is no number of entries, megabytes (2MB) or age (7d, 12h, 30m, 90s)"
                )
            if match["entries"]:
                name, value, least, most = (
                    "entries",
                    int(match["entries"]),
                    least_entries,
                    MOST_ENTRIES,
                )
            elif match["mb"]:
                name, value, least, most = (
                    "size_bytes",
                    int(float(match["mb"]) * MB),
                    MB // 10,
                    MOST_MB * MB,
                )
            else:
                name, value = "age_s", int(match["age"]) * _UNITS_S[match["unit"].lower()]
                least, most = 60, MOST_DAYS * DAY_S
            if not least <= value <= most:
                bounds = (
                    cls(least_entries, MB // 10, 60),
                    cls(MOST_ENTRIES, MOST_MB * MB, MOST_DAYS * DAY_S),
                )
                raise ConfigError(f"{part} is out of bounds: from {bounds[0]} to {bounds[1]}")
            if name in named:
                raise ConfigError(f"{text[:60]!r} says twice how much")
            named.add(name)
            found[name] = value
        if not named:
            raise ConfigError(f"give entries, megabytes and age, like {default}")
        return cls(**found)

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _UNITS_S.items() if self.age_s % seconds == 0)
        return f"{self.entries},{self.size_bytes / MB:.6g}MB,{self.age_s // _UNITS_S[unit]}{unit}"


def _default(kind: HistoryKind) -> Limit:
    history = HISTORIES[kind]
    return Limit(history.entries, history.size_bytes, history.age_s)


class Limits(msgspec.Struct, frozen=True):
    """The limits of one namespace. The servers set them, and the scripts of every writer go by what was set last.

    By default 50 services fit into 256 MB whatever they say: 50 * 4 MB of history, the feed, audit, incidents, and the board.
    """

    feed: Limit = Limit(20_000, 32 * MB, 3_600)
    status: Limit = _default("status")
    log: Limit = _default("log")
    metric: Limit = _default("metric")
    audit: Limit = Limit(10_000, 4 * MB, 365 * DAY_S)
    incident: Limit = Limit(1_000, 8 * MB, 365 * DAY_S)
    board: Positive = BOARD_MAX


DEFAULT_LIMITS = msgspec.json.encode(Limits())
"""What writers bring along, for where no server has set any."""
