"""Sight: what a server can vouch for at the moment, all times in ms by Redis' clock."""

import msgspec

from pulseboard.wire.state import RECONNECT_MS


class BlindView(msgspec.Struct, frozen=True):
    """Since when (ms by Redis' clock) and why the server cannot see Redis."""

    since: int
    reason: str


class DeafView(msgspec.Struct, frozen=True):
    """From when to when (ms by Redis' clock; None: it goes on) plain publishes were not heard, and may be missing."""

    since: int
    until: int | None


class Sight(msgspec.Struct, frozen=True):
    """What can be vouched for: up to when every sign of life was heard, and since when silence counts (ms by Redis' clock)."""

    blind: BlindView | None = None
    heard: int = 0
    since: int = 0
    deaf: DeafView | None = None

    def look(self, *, blind: BlindView | None = None, heard: int = 0, since: int = 0) -> "Sight":
        """Return what can be vouched for from here on; 0 is nothing new. Silence counts again when services have had time to
        find their way back after `since`, when nobody could be heard."""
        counts_from = since + RECONNECT_MS if since else 0
        return Sight(blind, heard or self.heard, max(self.since, counts_from), self.deaf)

    def listen(self, deaf: DeafView | None) -> "Sight":
        """Return what can be vouched for after plain publishes were not heard, or were again."""
        return Sight(self.blind, self.heard, self.since, deaf)
