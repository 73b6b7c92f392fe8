"""Moments on the command line: an age such as `10m`, ISO 8601, or ms since the epoch."""

import datetime as dt
import re
from typing import NamedTuple

from pulseboard.wire.errors import ConfigError

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d|w)", re.ASCII)
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MS = re.compile(r"\d{1,16}", re.ASCII)


class Moment(NamedTuple):
    """A moment: `ago_ms` before the current time of the board, or `at_ms` since the epoch."""

    ago_ms: int | None = None
    at_ms: int | None = None

    @classmethod
    def parse(cls, option: str, text: str) -> "Moment":
        """Parse a moment; raise ConfigError. A time without an offset is local time."""
        if (ago := _AGO.fullmatch(text)) is not None:
            return cls(ago_ms=int(float(ago[1]) * _UNITS_MS[ago[2]]))
        try:
            at_ms = (
                int(text)
                if _MS.fullmatch(text)
                else int(dt.datetime.fromisoformat(text).timestamp() * 1000)
            )
        except (ValueError, OverflowError) as error:
            raise ConfigError(
                f"{option} is an age (10m, 2h, 3d) or a time (2026-11-25T03:00:00Z),"
                f" not {text[:40]!r}"
            ) from error
        return cls(at_ms=max(0, at_ms))

    def ms(self, now_ms: int) -> int:
        """Return ms since the epoch."""
        return max(0, now_ms - self.ago_ms) if self.ago_ms is not None else self.at_ms or 0
