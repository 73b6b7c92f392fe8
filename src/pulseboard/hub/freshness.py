"""How a server's freshness changes: on contact with Redis, on its loss, and on coverage gaps."""

from pulseboard.wire.state import RECONNECT_MS
from pulseboard.wire.views import BlindView, Freshness


def observe(
    freshness: Freshness,
    *,
    blind: BlindView | None = None,
    observed_until: int = 0,
    observed_since: int = 0,
) -> Freshness:
    """Return the freshness after an answer of Redis or its loss (`blind`); 0 changes nothing.

    `observed_since` is the end of a period in which no heartbeat could be observed. Silence counts
    again RECONNECT_MS after it, when services have had time to reconnect. All times are ms by
    Redis' clock.
    """
    counts_from = observed_since + RECONNECT_MS if observed_since else 0
    return Freshness(
        blind=blind,
        observed_until=observed_until or freshness.observed_until,
        observed_since=max(freshness.observed_since, counts_from),
        gap=freshness.gap,
    )
