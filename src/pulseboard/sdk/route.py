"""`Route`: how the batches of one buffer are published, and how a refusal is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from pulseboard.bus.connection.errors import was_refused
from pulseboard.sdk.buffer import BatchT, Buffer
from pulseboard.wire.errors import BusUnavailable, InvalidEvent


@dataclass(frozen=True)
class Route(Generic[BatchT]):
    """A buffer and the way of its batches to Redis. The sender's thread alone uses it."""

    name: str
    buffer: Buffer[BatchT]
    publish: Callable[[BatchT], None]
    refusal: str | None = None
    """The warning that is logged once, with the error, if Redis refuses a batch.

    None: a refusal counts as an outage. Without its status and heartbeats a service is not on the
    board, so these are sent again until Redis takes them.
    """
    last_batches: int = 0
    """How many batches are sent before the last status, after which nothing may follow."""
    last_s: float = float("inf")
    """How long that may take."""

    def send_batch(self, warn: Callable[[str, str], None]) -> bool:
        """Send one batch and return whether Redis took it; raise BusUnavailable during an outage.

        False means that there was nothing to send, or that the batch was refused.
        """
        batch = self.buffer.drain()
        if batch is None:
            return False
        try:
            self.publish(batch)
        except (BusUnavailable, InvalidEvent) as error:
            if self.refusal is None or not _is_final(error):
                raise
            self.buffer.reject()
            warn(self.name, f"{self.refusal}: {error}")
            return False
        self.buffer.confirm()
        return True


def _is_final(error: BusUnavailable | InvalidEvent) -> bool:
    return isinstance(error, InvalidEvent) or was_refused(error)
