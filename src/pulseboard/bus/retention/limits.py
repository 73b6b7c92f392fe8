"""The limits of the streams in Redis: feed, histories by kind, audit and incidents."""

import re
from typing import Annotated, NamedTuple

import msgspec

from pulseboard.bus.keys import BOARD_MAX
from pulseboard.wire.errors import ConfigError
from pulseboard.wire.kinds import HISTORIES, HistoryKind

DAY_S = 86_400
WEEK_S = 7 * DAY_S
MB = 1_000_000

ENTRIES_MAX = 10_000_000
SIZE_MAX_MB = 100_000
AGE_MAX_DAYS = 3_650

_UNITS_S = {"d": DAY_S, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(
    r"(?P<entries>\d{1,9})|(?P<mb>\d{1,9}(\.\d{1,3})?)mb|(?P<age>\d{1,9})(?P<unit>[dhms])",
    re.ASCII | re.IGNORECASE,
)

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Limit(NamedTuple):
    """The maximum entries, bytes and age (s) of one stream.

    The limits are approximate: Redis trims in nodes of 100 entries.
    """

    entries: Positive
    size_bytes: Positive
    age_s: Positive

    @classmethod
    def parse(cls, text: str, default: "Limit", *, least_entries: int = 100) -> "Limit":
        """Parse `20000,32MB,1h`, in any order; a part that is not given is that of `default`.

        Raises ConfigError when a part is invalid, out of bounds, or given twice.
        """
        lowest = cls(least_entries, MB // 10, 60)
        highest = cls(ENTRIES_MAX, SIZE_MAX_MB * MB, AGE_MAX_DAYS * DAY_S)
        given: dict[str, int] = {}
        for part in filter(None, re.split(r"[,\s]+", text)):
            name, value = _parse_part(part)
            if not getattr(lowest, name) <= value <= getattr(highest, name):
                raise ConfigError(f"{part} is out of bounds: from {lowest} to {highest}")
            if name in given:
                raise ConfigError(f"{text[:60]!r} gives the same limit twice")
            given[name] = value
        if not given:
            raise ConfigError(f"give entries, megabytes and age, like {default}")
        return default._replace(**given)

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _UNITS_S.items() if self.age_s % seconds == 0)
        return f"{self.entries},{self.size_bytes / MB:.6g}MB,{self.age_s // _UNITS_S[unit]}{unit}"


def _parse_part(part: str) -> tuple[str, int]:
    """Return which field of a Limit a part sets, and its value."""
    match = _PART.fullmatch(part)
    if match is None:
        raise ConfigError(
            f"{part[:40]!r} is not a number of entries, megabytes (2MB) or an age "
            "(7d, 12h, 30m, 90s)"
        )
    if match["entries"]:
        return "entries", int(match["entries"])
    if match["mb"]:
        return "size_bytes", int(float(match["mb"]) * MB)
    return "age_s", int(match["age"]) * _UNITS_S[match["unit"].lower()]


def _default(kind: HistoryKind) -> Limit:
    history = HISTORIES[kind]
    return Limit(history.entries, history.size_bytes, history.age_s)


class Limits(msgspec.Struct, frozen=True):
    """The limits of one namespace.

    The servers write them to Redis, and the scripts of every writer apply those that were written
    last. With the defaults 50 services fit into 256 MB, however much they publish: 50 * 4 MB of
    history, and the feed, the audit, the incidents and the board.
    """

    feed: Limit = Limit(20_000, 32 * MB, 3_600)
    status: Limit = _default("status")
    log: Limit = _default("log")
    metric: Limit = _default("metric")
    audit: Limit = Limit(10_000, 4 * MB, 365 * DAY_S)
    incident: Limit = Limit(1_000, 8 * MB, 365 * DAY_S)
    board: Positive = BOARD_MAX


DEFAULT_LIMITS = msgspec.json.encode(Limits())
"""The limits that writers send along, for a namespace without limits in Redis."""
