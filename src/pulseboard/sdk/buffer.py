"""`Buffer`: the one shape of everything that waits to be sent to Redis.

Statuses, heartbeats, receipts, log lines and metrics each have a buffer. Any thread fills it
without waiting; the sender's thread alone calls the four methods below.
"""

from typing import Protocol, TypeVar

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)

NEVER = float("inf")
"""The due time of a buffer that has nothing to send."""


class Buffer(Protocol[BatchT_co]):
    """A bounded buffer whose batches are sent one at a time.

    The sender calls `drain`, publishes the batch, and calls `confirm` if Redis took it or `reject`
    if Redis refused it. If Redis cannot be reached it calls neither: the items wait, and the next
    `drain` returns them again.
    """

    def due(self) -> float:
        """Return when (`time.monotonic`) the next batch is to be sent; NEVER if there is none."""
        ...

    def drain(self) -> BatchT_co | None:
        """Return the next batch and hold it; None if there is nothing to send."""
        ...

    def confirm(self) -> None:
        """Record that Redis took the batch that `drain` returned last."""
        ...

    def reject(self) -> None:
        """Give up the batch that `drain` returned last, because Redis will never take it."""
        ...
