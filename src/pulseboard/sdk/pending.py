"""The desk: what a service has said and not sent yet, of each kind, and what it offers. It outlives the couriers."""

from dataclasses import dataclass, field

from pulseboard.sdk.bounded_queue import BoundedQueue
from pulseboard.sdk.command_registry import CommandRegistry
from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.log_buffer import LogBuffer
from pulseboard.sdk.loop_watch import LoopWatch
from pulseboard.sdk.metric_registry import MetricRegistry
from pulseboard.sdk.outbox import Outbox
from pulseboard.sdk.stats import LinkRecord
from pulseboard.wire.codec import json_text
from pulseboard.wire.events.receipt import Receipt

RECEIPTS_MAX, RECEIPTS_MAX_BYTES, RECEIPTS_BATCH = 1_000, 4 * 1024 * 1024, 50


def _size_of(receipt: Receipt) -> int:
    return 400 + len(json_text(receipt.result)) + len(receipt.error) + len(receipt.reason)


def _make_receipts() -> BoundedQueue[Receipt]:
    return BoundedQueue(RECEIPTS_MAX, RECEIPTS_MAX_BYTES, RECEIPTS_BATCH, _size_of)


@dataclass(frozen=True)
class Pending:
    """What the couriers of one service share, one after the other."""

    guard: InternalErrors
    logbook: LogBuffer
    meter: MetricRegistry
    metrics_every_s: float
    outbox: Outbox = field(default_factory=Outbox)
    receipts: BoundedQueue[Receipt] = field(default_factory=_make_receipts)
    offers: CommandRegistry = field(default_factory=CommandRegistry)
    loops: LoopWatch = field(default_factory=LoopWatch)
    record: LinkRecord = field(default_factory=LinkRecord)

    def renew(self, guard: InternalErrors) -> "Pending":
        """Return that of a forked child: it says what it says itself, and offers the same."""
        meter, outbox = self.meter.renew(), self.outbox.renew()
        return Pending(
            guard, self.logbook.renew(), meter, self.metrics_every_s, outbox, offers=self.offers
        )
