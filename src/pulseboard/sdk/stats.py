"""What a service can tell its host about itself: for the host's own health endpoint and its logs."""

from dataclasses import dataclass

from pulseboard.sdk.bounded_queue import QueueCounts


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """The counts of one service in one process, at one moment: `offered == sent + dropped + waiting`, always.

    They begin at 0 when the service is made, go on over stop and start, and begin anew in a forked child.
    """

    connected: bool
    """Whether the last attempt to reach Redis succeeded; False before the first, and once stopped."""
    failures: int
    """Attempts at reaching Redis that failed."""
    last_error: str | None
    """Why the latest of them failed; it stays when Redis is back."""
    internal_errors: int
    """Bugs of ours that were swallowed."""
    offered: int
    """Events given to the outbox: one a start, one an update or replace, one a goodbye; and one when Redis lost the status."""
    sent: int
    overflowed: int
    """Dropped because the outbox was full: updates came faster than Redis took them."""
    coalesced: int
    """Dropped during an outage, because a later status says all that they said."""
    waiting: int
    """Not sent yet, or sent and not confirmed."""
    waiting_bytes: int
    lines: QueueCounts
    """The same of log lines; none is ever coalesced."""

    @property
    def dropped(self) -> int:
        """Events that nobody will see: overflowed and coalesced ones."""
        return self.overflowed + self.coalesced


class LinkRecord:
    """What the courier notes about the link to Redis."""

    def __init__(self) -> None:
        self.connected = False
        self.failures = 0
        self.last_error: str | None = None

    def note_failure(self, error: BaseException) -> None:
        """Count an attempt that failed."""
        self.connected = False
        self.failures += 1
        self.last_error = str(error)

    def to_stats(
        self, events: QueueCounts, lines: QueueCounts, internal_errors: int
    ) -> ServiceStats:
        """Put together what there is to tell."""
        return ServiceStats(
            self.connected, self.failures, self.last_error, internal_errors, *events, lines
        )
