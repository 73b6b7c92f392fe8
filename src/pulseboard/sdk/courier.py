"""The courier: the one thread of a service that talks to Redis. It sends, beats, and comes back by itself after an outage."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from pulseboard.bus.client import is_refusal, retry_delay_s
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.sdk import host
from pulseboard.sdk.commander import Commander
from pulseboard.sdk.guard import Guard
from pulseboard.sdk.lane import Lane
from pulseboard.sdk.logbook import Logbook
from pulseboard.sdk.loops import LoopWatch
from pulseboard.sdk.meter import Meter
from pulseboard.sdk.offers import Offers
from pulseboard.sdk.outbox import Outbox, Said, Word
from pulseboard.sdk.stats import LinkRecord
from pulseboard.sdk.status import fit_status, parse_status
from pulseboard.wire.commands import Receipt
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events import MAX_EVENT_BYTES, StatusEvent, encode, encode_event, json_of
from pulseboard.wire.metrics import MetricEvent

ENVELOPE_MAX_BYTES = 2_048
"""What an event has around its status at most: names of 64 and 128 characters, escaped, and a few numbers."""

LOOK_ROUND_S = 0.5
"""How often the thread sees to it whether it is the last in a child that began in a thread, and would keep it for ever."""
LINES_EVERY_S = 0.1
BATCHES_AT_ONCE = 2
"""How often log lines are sent, and in how many batches of up to 500 lines or 48 kB: 10,000 a second of one process. That is more
than anybody reads, costs the host a tenth of a core, and more would push what others say out of the feed.
"""
LAST_TURNS = 10
"""How often so many are sent before the goodbye."""
LAST_LINES_S = 0.3
"""How long that may take of the 2 s of an end, where threads of the host never rest and a batch takes a quarter of a second."""

RECEIPTS_MAX, RECEIPTS_MAX_BYTES, RECEIPTS_BATCH = 1_000, 4 * 1024 * 1024, 50

log = logging.getLogger("pulseboard.service")


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


class Courier:
    """Sends what is said in one run of a service, and a beat every `beat_s`, until its goodbye is sent.

    It takes no lock that a thread of the host may hold: a signal handler that stops the service waits for it. `predecessor`
    may still be on the way out, and is waited for: two at once would overtake each other.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        beat_s: float,
        desk: Desk,
        complain: Callable[[str, str], None],
        publisher: Publisher,
        address: str,
        run: int,
        make_commander: Callable[[Callable[[Receipt], None]], Commander],
        predecessor: "Courier | None" = None,
    ) -> None:
        self._service = service
        self._instance = instance
        self._beat_s = beat_s
        self._desk = desk
        self._complain = complain  # a method of the service, which so lives for as long as it runs
        self._publisher = publisher
        self._address = address
        self._word = Word(run)
        self._make_commander = make_commander
        self._commander: Commander | None = None
        self._predecessor = predecessor
        # A SimpleQueue, since a signal handler may call update() in the middle of an update(): an Event would deadlock.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._said_goodbye = False
        self.dismissed = False
        self._attempt = 0
        self._next_beat = self._next_lines = self._next_metrics = time.monotonic()
        self._lines_wait = False
        self._thread = threading.Thread(target=self._run, name=f"pulseboard-{service}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def say(self) -> None:
        """Have the status sent as it is now."""
        self._desk.outbox.offer(self._word)
        if self._wakes.empty():
            self._wakes.put(None)

    def note_line(self) -> None:
        """Say that the logbook has something."""
        # Once for all lines until they are sent, or a flood would keep this thread from sleeping.
        if not self._lines_wait:
            self._lines_wait = True
            self._wakes.put(None)

    def note_metric(self) -> None:
        """Say that the meter has a first instrument."""
        self._wakes.put(None)

    def dismiss(self, back_in_s: float | None) -> None:
        """Ask for an end: send what is waiting, then the goodbye, of which only the first counts. Does not wait for it."""
        try:
            self._desk.outbox.offer(self._word._replace(goodbye=True, back_in_s=back_in_s))
        finally:
            if self._commander is not None:
                self._commander.dismiss()
            # Last, for a signal handler that stops as well, in the middle of this: it must not wait for a goodbye unsaid.
            self.dismissed = True
            self._wakes.put(None)

    def join(self, timeout_s: float | None) -> None:
        """Wait until all is sent; give up after `timeout_s`."""
        # A signal handler may wait for a thread in the middle of its being started.
        with contextlib.suppress(RuntimeError):
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            if self._predecessor is not None:
                self._predecessor.join(None)
                self._predecessor = None
            while not self.dismissed:
                try:
                    self._turn()
                    if host.is_left_alone():
                        self.dismiss(None)
                except Exception as error:
                    # Nobody sees a thread die: the service would vanish from the board while it works on.
                    if not self._desk.guard.swallow(error):
                        raise
                    self._attempt += 1
                    self._pause()
            with self._desk.guard:
                self._leave()
        finally:
            self._desk.record.connected = False
            with self._desk.guard:
                self._publisher.close()

    def _turn(self) -> None:
        if self._desk.offers and self._commander is None and not self.dismissed:
            self._commander = self._make_commander(self._tell)
            self._commander.start()
        try:
            self._send_all()
            self._send_receipts()
            if time.monotonic() >= self._next_beat:
                if not self._said_goodbye:
                    self._beat()
                self._next_beat = max(self._next_beat + self._beat_s, time.monotonic())
            if self._lines_wait and time.monotonic() >= self._next_lines:
                self._next_lines = time.monotonic() + LINES_EVERY_S
                self._send_lines()
            if self._desk.meter and not self._said_goodbye and time.monotonic() >= self._next_metrics:
                self._next_metrics = time.monotonic() + self._desk.metrics_every_s
                self._send_metrics()
        except BusUnavailable as error:
            self._note_failure(error)
            self._pause()
            return
        self._note_success()
        until = min(self._next_beat, self._next_lines) if self._lines_wait else self._next_beat
        if self._desk.meter:
            until = min(until, self._next_metrics)
        self._wait(until - time.monotonic())

    def _send_metrics(self) -> None:
        """Send the metrics as they are now. None of them queue: what fails to be sent is part of the next, extremes too."""
        meter, now_s = self._desk.meter, time.monotonic()
        readings = meter.take(now_s)
        if readings is None:
            return
        event = MetricEvent(
            self._service, readings.metrics, self._instance, time.time_ns() // 1_000_000, readings.kinds
        )
        try:
            self._publisher.publish_metrics(self._service, self._instance, encode_event(event))
        except InvalidEvent as error:
            self._complain("metrics", f"the metrics are not sent: {error}")
        except BusUnavailable as error:
            if error.__cause__ is None or not is_refusal(error.__cause__):
                self._next_metrics = now_s
                raise
            self._complain("metrics", f"Redis refused metrics, and is asked again with the next: {error}")
        else:
            meter.confirm(readings, now_s)

    def _send_lines(self) -> None:
        """Send some log lines; those that are left must wait a little, or a flood would leave the host no time."""
        self._lines_wait = False
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
            self._lines_wait = True
            if error.__cause__ is None or not is_refusal(error.__cause__):
                raise
            # These must not hold up what comes after them, status and beats above all.
            logbook.refuse()
            self._complain("lines", f"Redis refused log lines, which are lost: {error}")
            return False
        logbook.confirm()
        self._lines_wait = logbook.waits
        return self._lines_wait

    def _tell(self, receipt: Receipt) -> None:
        self._desk.receipts.offer(receipt)
        self._wakes.put(None)

    def _send_receipts(self) -> None:
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
                if error.__cause__ is None or not is_refusal(error.__cause__):
                    raise
                self._complain("receipt", f"Redis refused a receipt, which is lost: {error}")
            receipts.hold(tuple(rest), sent=1)

    def _settle_commands(self) -> None:
        """Begin no more commands, and say what became of those that were begun, since nothing may come after a goodbye."""
        if self._commander is not None:
            self._commander.dismiss()
            self._commander.abandon()
        self._send_receipts()

    def _send_last_lines(self) -> None:
        """Send what was logged before the goodbye, since nothing may come after it."""
        deadline = time.monotonic() + LAST_LINES_S
        for _ in range(LAST_TURNS * BATCHES_AT_ONCE):
            if not self._send_batch() or time.monotonic() > deadline:
                return

    def _send_all(self) -> None:
        outbox, run = self._desk.outbox, self._word.run
        if self._attempt:
            # What was said during the pause between two attempts is history as well, not only what failed to be sent.
            outbox.keep_latest(run)
        while not self._said_goodbye and (batch := outbox.take(run)):
            if batch[-1].word.goodbye:
                self._settle_commands()
                self._send_last_lines()
                self._send_metrics()
            try:
                self._publisher.publish([self._make_event(said) for said in batch])
            except BaseException:
                outbox.keep_latest(run)
                raise
            outbox.confirm()
            self._said_goodbye = batch[-1].word.goodbye

    def _make_event(self, said: Said) -> Outgoing:
        event = StatusEvent(
            service=self._service,
            timestamp=said.at_ns // 1_000_000,
            status=msgspec.Raw(said.json),
            instance=self._instance,
            beat_s=self._beat_s,
            commands=[] if said.word.goodbye else self._desk.offers.names,
            goodbye=said.word.goodbye,
            back_in_s=said.word.back_in_s,
        )
        try:
            json = encode_event(event, max_bytes=MAX_EVENT_BYTES)
        except InvalidEvent as error:
            self._complain(error.reason, f"the largest fields of this status were left out: {error}")
            fitted = fit_status(parse_status(said.json), MAX_EVENT_BYTES - ENVELOPE_MAX_BYTES)
            json = encode(msgspec.structs.replace(event, status=msgspec.Raw(encode(fitted))))
        return Outgoing(self._service, self._instance, json, said.word.back_in_s)

    def _beat(self) -> None:
        if not self._publisher.beat(self._service, self._instance, self._desk.loops.ask()):
            # Should the goodbye have come while it asked, this comes after it and is not sent: all is said.
            self.say()
            self._send_all()

    def _leave(self) -> None:
        try:
            self._send_all()
        except BusUnavailable as error:
            self._desk.record.note_failure(error)
            log.warning("service %s left without a goodbye: %s", self._service, error)

    def _pause(self) -> None:
        deadline = time.monotonic() + retry_delay_s(self._attempt)
        # Updates wake the thread too; they must not turn the pause into a storm of attempts.
        while not self.dismissed and (left := deadline - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, timeout_s: float) -> None:
        if host.began_in_thread():
            timeout_s = min(timeout_s, LOOK_ROUND_S)
        with contextlib.suppress(queue.Empty):
            self._wakes.get(timeout=max(0.0, timeout_s))

    def _note_failure(self, error: BusUnavailable) -> None:
        self._attempt += 1
        self._desk.record.note_failure(error)
        if self._attempt == 1:
            log.error(
                "service %s cannot reach Redis at %s, and goes on without it: %s", self._service, self._address, error
            )

    def _note_success(self) -> None:
        attempt, self._attempt = self._attempt, 0
        self._desk.record.connected = True
        if attempt:
            log.info("service %s reached Redis at %s", self._service, self._address)
