"""The freight: what goes to Redis beside statuses and beats - log lines, receipts, metrics - each in its own time.

What Redis refuses is complained of and must not hold up what comes after it; while Redis is away all of it waits.
"""

import time
from collections.abc import Callable

from pulseboard.bus.connection.errors import was_refused
from pulseboard.bus.publisher import Publisher
from pulseboard.sdk.pending import RECEIPTS_BATCH, Pending
from pulseboard.wire.codec import encode_event
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.metric import MetricEvent

LINES_EVERY_S = 0.1
BATCHES_AT_ONCE = 3
"""How often log lines are sent, and in how many batches of up to 500 lines or 48 kB: some 8,000 short ones a second of a process.

That is more than anybody reads and costs the host less than a tenth of a core; more would push out of the feed what others say.
"""
LAST_TURNS = 10
"""How often so many are sent before the goodbye."""
LAST_LINES_S = 0.3
"""How long that may take of the 2 s of an end, where threads of the host never rest and a batch takes a quarter of a second."""


class SideQueues:
    """Sends the freight of one run of a service. Raises BusUnavailable when Redis is away."""

    def __init__(
        self,
        service: str,
        instance: str,
        desk: Pending,
        publisher: Publisher,
        complain: Callable[[str, str], None],
    ) -> None:
        self._service = service
        self._instance = instance
        self._desk = desk
        self._publisher = publisher
        self._complain = complain
        self._next_lines = self._next_metrics = time.monotonic()
        self.lines_wait = False
        """Whether the logbook has something; set by whoever writes there."""

    def send_due(self) -> None:
        """Send all whose time has come."""
        self._send_receipts()
        now_s = time.monotonic()
        if self.lines_wait and now_s >= self._next_lines:
            self._next_lines = now_s + LINES_EVERY_S
            self._send_lines()
        if self._desk.meter and now_s >= self._next_metrics:
            self._next_metrics = now_s + self._desk.metrics_every_s
            self._send_metrics()

    def next_due(self, at_most: float) -> float:
        """Return when (monotonic) something will be due, `at_most` if nothing is before."""
        lines = self._next_lines if self.lines_wait else at_most
        metrics = self._next_metrics if self._desk.meter else at_most
        return min(at_most, lines, metrics)

    def send_last(self) -> None:
        """Send all there is, within bounds, since nothing may come after a goodbye."""
        self._send_receipts()
        deadline = time.monotonic() + LAST_LINES_S
        for _ in range(LAST_TURNS * BATCHES_AT_ONCE):
            if not self._send_batch() or time.monotonic() > deadline:
                break
        self._send_metrics()

    def _send_receipts(self) -> None:
        """Send every receipt there is."""
        receipts = self._desk.receipts
        while True:
            if not receipts.ledger.held:
                left = receipts.look()[1][:RECEIPTS_BATCH]
                if not left:
                    return
                receipts.hold(tuple(receipt for receipt, _ in left), left)
            first, *rest = receipts.ledger.held
            try:
                self._publisher.publish_receipt(first)
            except BusUnavailable as error:
                if not was_refused(error):
                    raise
                self._complain("receipt", f"Redis refused a receipt, which is lost: {error}")
            receipts.hold(tuple(rest), sent=1)

    def _send_metrics(self) -> None:
        """Send the metrics as they are now. None of them queue: what fails to be sent is part of the next, extremes too."""
        meter, now_s = self._desk.meter, time.monotonic()
        readings = meter.take(now_s)
        if readings is None:
            return
        event = MetricEvent(
            self._service,
            readings.metrics,
            self._instance,
            time.time_ns() // 1_000_000,
            readings.kinds,
        )
        try:
            self._publisher.publish_metrics(self._service, self._instance, encode_event(event))
        except InvalidEvent as error:
            self._complain("metrics", f"the metrics are not sent: {error}")
        except BusUnavailable as error:
            if not was_refused(error):
                self._next_metrics = now_s
                raise
            self._complain(
                "metrics", f"Redis refused metrics, and is asked again with the next: {error}"
            )
        else:
            meter.confirm(readings, now_s)

    def _send_lines(self) -> None:
        """Send some log lines; those that are left must wait a little, or a flood would leave the host no time."""
        self.lines_wait = False
        for _ in range(BATCHES_AT_ONCE):
            if not self._send_batch():
                return

    def _send_batch(self) -> bool:
        """Send a batch of log lines; return whether more wait."""
        logbook = self._desk.logbook
        batch = logbook.take()
        if batch is None:
            return False
        try:
            self._publisher.publish_lines(self._service, self._instance, batch)
        except BusUnavailable as error:
            self.lines_wait = True
            if not was_refused(error):
                raise
            logbook.refuse()
            self._complain("lines", f"Redis refused log lines, which are lost: {error}")
            return False
        logbook.confirm()
        self.lines_wait = logbook.waits
        return self.lines_wait
