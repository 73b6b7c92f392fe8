"""Sight: what a server can vouch for at the moment, all times in ms by Redis' clock."""

import msgspec

from pulseboard.wire.state import RECONNECT_MS


class BlindView(msgspec.Struct, frozen=True):
    """Since when (ms by Redis' clock) and why the server cannot see Redis."""

    since: int
    reason: str


class CoverageGapView(msgspec.Struct, frozen=True):
    """From when to when (ms by Redis' clock; None: it goes on) plain publishes were not heard, and may be missing."""

    since: int
    until: int | None


class Freshness(msgspec.Struct, frozen=True):
    """What can be vouched for: up to when every sign of life was heard, and since when silence counts (ms by Redis' clock)."""

    blind: BlindView | None = None
    observed_until: int = 0
    observed_since: int = 0
    gap: CoverageGapView | None = None

    def look(
        self, *, blind: BlindView | None = None, observed_until: int = 0, observed_since: int = 0
    ) -> "Freshness":
        """Return what can be vouched for from here on; 0 is nothing new. Silence counts again when services have had time to
        find their way back after `observed_since`, when nobody could be heard."""
        counts_from = observed_since + RECONNECT_MS if observed_since else 0
        return Freshness(
            blind,
            observed_until or self.observed_until,
            max(self.observed_since, counts_from),
            self.gap,
        )

    def listen(self, gap: CoverageGapView | None) -> "Freshness":
        """Return what can be vouched for after plain publishes were not heard, or were again."""
        return Freshness(self.blind, self.observed_until, self.observed_since, gap)
