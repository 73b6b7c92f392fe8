"""The health of this server: whether clients can rely on its board, and its counters."""

from collections.abc import Mapping

from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.hub import Hub
from pulseboard.wire.errors import Reason


class ServerHealth:
    """Answers whether the server is ready, from the state of its parts."""

    def __init__(self, hub: Hub, ingestor: Ingestor, rejections: Rejections) -> None:
        self._hub = hub
        self._ingestor = ingestor
        self._rejections = rejections
        self.failed = False
        """Set when a part of the server ended with an error."""

    @property
    def not_ready_reason(self) -> str | None:
        """Why clients cannot rely on the board; None while they can."""
        if self.failed:
            return "The server failed internally: see its log for the reason."
        if self._hub.closing:
            return "The server is stopping."
        if self._hub.blind is not None:
            return f"Redis cannot be reached: {self._hub.blind.reason}"
        if not self._ingestor.subscribed.is_set():
            return "The server is not subscribed to external messages yet."
        return None

    @property
    def coverage_gaps(self) -> int:
        """The number of periods in which external messages may have been missed."""
        return self._ingestor.losses

    @property
    def dropped(self) -> Mapping[Reason, int]:
        """How many invalid messages were dropped, by reason."""
        return self._rejections.counts
