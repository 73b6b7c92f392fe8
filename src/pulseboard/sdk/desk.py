"""The desk: what a service has said and not sent yet, of each kind, and what it offers. It outlives the couriers."""

from dataclasses import dataclass, field

from pulseboard.sdk.guard import Guard
from pulseboard.sdk.lane import Lane
from pulseboard.sdk.logbook import Logbook
from pulseboard.sdk.loops import LoopWatch
from pulseboard.sdk.meter import Meter
from pulseboard.sdk.offers import Offers
from pulseboard.sdk.outbox import Outbox
from pulseboard.sdk.stats import LinkRecord
from pulseboard.wire.commands import Receipt
from pulseboard.wire.events import json_of

RECEIPTS_MAX, RECEIPTS_MAX_BYTES, RECEIPTS_BATCH = 1_000, 4 * 1024 * 1024, 50


def _size_of(receipt: Receipt) -> int:
    return 400 + len(json_of(receipt.result)) + len(receipt.error) + len(receipt.reason)


def _make_receipts() -> Lane[Receipt]:
    return Lane(RECEIPTS_MAX, RECEIPTS_MAX_BYTES, RECEIPTS_BATCH, _size_of)


@dataclass(frozen=True)
class Desk:
    """What the couriers of one service share, one after the other."""

    guard: Guard
    logbook: Logbook
    meter: Meter
    metrics_every_s: float
    outbox: Outbox = field(default_factory=Outbox)
    receipts: Lane[Receipt] = field(default_factory=_make_receipts)
    offers: Offers = field(default_factory=Offers)
    loops: LoopWatch = field(default_factory=LoopWatch)
    record: LinkRecord = field(default_factory=LinkRecord)

    def renew(self, guard: Guard) -> "Desk":
        """Return that of a forked child: it says what it says itself, and offers the same."""
        meter, outbox = self.meter.renew(), self.outbox.renew()
        return Desk(guard, self.logbook.renew(), meter, self.metrics_every_s, outbox, offers=self.offers)
