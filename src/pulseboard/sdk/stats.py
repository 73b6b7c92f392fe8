"""`ServiceStats`: the counts of a service, for the host application."""

from dataclasses import dataclass

from pulseboard.sdk.bounded_queue import QueueCounts


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """Counts of one service in one process: `offered == sent + dropped + waiting`, always.

    They begin at 0 when the service is made, continue over stop and start, and begin again at 0 in
    a forked child.
    """

    connected: bool
    """Whether the last attempt to reach Redis succeeded; False before a start and after a stop."""
    failures: int
    """Attempts to reach Redis that failed."""
    last_error: str | None
    """Why the latest failed attempt failed; it stays when Redis is back."""
    internal_errors: int
    """Bugs of Pulseboard that were caught and did not reach the host application."""
    offered: int
    """Status events put into the outbox: one for each start, update, replace, new command and stop,
    and one whenever Redis had lost the status."""
    sent: int
    """Status events that Redis took."""
    overflowed: int
    """Dropped because the outbox was full: updates came faster than Redis took them."""
    coalesced: int
    """Dropped during an outage, because a later status contains everything that they contained."""
    waiting: int
    """Not sent yet, or sent and not confirmed."""
    waiting_bytes: int
    lines: QueueCounts
    """The same counts for log lines, which are never coalesced."""

    @property
    def dropped(self) -> int:
        """Status events that were not sent: `overflowed + coalesced`."""
        return self.overflowed + self.coalesced


class LinkRecord:
    """The sender's record of its connection to Redis."""

    def __init__(self) -> None:
        self.connected = False
        self.failures = 0
        self.last_error: str | None = None

    def record_failure(self, error: BaseException) -> None:
        """Count a failed attempt."""
        self.connected = False
        self.failures += 1
        self.last_error = str(error)

    def to_stats(
        self, events: QueueCounts, lines: QueueCounts, internal_errors: int
    ) -> ServiceStats:
        """Combine the record with the counts of the buffers."""
        return ServiceStats(
            self.connected, self.failures, self.last_error, internal_errors, *events, lines
        )
