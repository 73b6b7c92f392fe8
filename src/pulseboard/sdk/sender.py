"""The courier: the one thread of a service that talks to Redis. It sends, beats, and comes back by itself after an outage."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

import msgspec

from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.sdk import process_hooks
from pulseboard.sdk.command_runner import CommandRunner
from pulseboard.sdk.outbox import Said, Word
from pulseboard.sdk.pending import Pending
from pulseboard.sdk.side_queues import SideQueues
from pulseboard.sdk.status_encoding import fit_status, parse_status
from pulseboard.wire.codec import MAX_EVENT_BYTES, encode, encode_event
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.events.status import StatusEvent

ENVELOPE_MAX_BYTES = 2_048
"""What an event has around its status at most: names of 64 and 128 characters, escaped, and a few numbers."""

LOOK_ROUND_S = 0.5
"""How often the thread sees to it whether it is the last in a child that began in a thread, and would keep it for ever."""

LATE_S = 0.1
"""How long a status may be about to be put in before it is said by this thread instead."""

log = logging.getLogger("pulseboard.service")


class BackgroundSender:
    """Sends what is said in one run of a service, and a beat every `heartbeat_s`, until its goodbye is sent.

    It takes no lock that a thread of the host may hold: a signal handler that stops the service waits for it. `predecessor`
    may still be on the way out, and is waited for: two at once would overtake each other.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        heartbeat_s: float,
        desk: Pending,
        complain: Callable[[str, str], None],
        publisher: Publisher,
        address: str,
        run: int,
        make_commander: Callable[[Callable[[Receipt], None]], CommandRunner],
        predecessor: "BackgroundSender | None" = None,
    ) -> None:
        self._service = service
        self._instance = instance
        self._beat_s = heartbeat_s
        self._desk = desk
        self._complain = complain  # a method of the service, which so lives for as long as it runs
        self._publisher = publisher
        self._address = address
        self._word = Word(run)
        self._saying = desk.outbox.saying(self._word)
        self._make_commander = make_commander
        self._commander: CommandRunner | None = None
        self._predecessor = predecessor
        # A SimpleQueue, since a signal handler may call update() in the middle of an update(): an Event would deadlock.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._arrived = False
        self._said_goodbye = False
        self.dismissed = False
        self._attempt = 0
        self._next_beat = time.monotonic()
        self._freight = SideQueues(service, instance, desk, publisher, complain)
        self._thread = threading.Thread(target=self._run, name=f"pulseboard-{service}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def say(self) -> None:
        """Have the status sent as it is now."""
        self._desk.outbox.say(self._saying)
        if self._wakes.empty():
            self._wakes.put(None)

    def note_line(self) -> None:
        """Say that the logbook has something."""
        # Once for all lines until they are sent, or a flood would keep this thread from sleeping.
        if not self._freight.lines_wait:
            self._freight.lines_wait = True
            self._wakes.put(None)

    def note_metric(self) -> None:
        """Say that the meter has a first instrument."""
        self._wakes.put(None)

    def dismiss(self, back_in_s: float | None) -> None:
        """Ask for an end: send what is waiting, then the goodbye, of which only the first counts. Does not wait for it."""
        try:
            self._desk.outbox.say_last(self._word._replace(stopped=True, back_in_s=back_in_s))
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
                    if process_hooks.is_left_alone():
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
            if self._commander is not None:
                self._commander.dismiss()
            with self._desk.guard:
                self._publisher.close()

    def _turn(self) -> None:
        try:
            self._send_all()
            if self._desk.offers and self._commander is None and not self.dismissed:
                self._commander = self._make_commander(self._tell)
                self._commander.start()
            if time.monotonic() >= self._next_beat:
                if not self._said_goodbye:
                    self._beat()
                self._next_beat = max(self._next_beat + self._beat_s, time.monotonic())
            if not self._said_goodbye:
                self._freight.send_due()
        except BusUnavailable as error:
            self._note_failure(error)
            self._pause()
            return
        self._note_success()
        outbox = self._desk.outbox
        misses, timeout_s = (
            outbox.misses_latest,
            self._freight.next_due(self._next_beat) - time.monotonic(),
        )
        self._wait(min(timeout_s, LATE_S) if misses else timeout_s)
        if misses and outbox.misses_latest and not self.dismissed:
            self.say()

    def _tell(self, receipt: Receipt) -> None:
        self._desk.receipts.offer(receipt)
        self._wakes.put(None)

    def _settle_commands(self) -> None:
        """Begin no more commands, and say what became of those that were begun."""
        if self._commander is not None:
            self._commander.dismiss()
            self._commander.abandon()

    def _send_all(self) -> None:
        outbox, run = self._desk.outbox, self._word.run
        if self._attempt:
            # What was said during the pause between two attempts is history as well, not only what failed to be sent.
            outbox.keep_latest(run)
        if not self._arrived:  # before anything is said of this run
            self._publisher.forget_listener(self._service, self._instance)
            self._arrived = True
        while not self._said_goodbye and (batch := outbox.take(run)):
            if batch[-1].word.stopped:
                self._settle_commands()
                self._freight.send_last()
            try:
                self._publisher.publish([self._make_event(said) for said in batch])
            except BaseException:
                outbox.keep_latest(run)
                raise
            outbox.confirm()
            self._said_goodbye = batch[-1].word.stopped

    def _make_event(self, said: Said) -> Outgoing:
        event = StatusEvent(
            service=self._service,
            timestamp=said.at_ns // 1_000_000,
            status=msgspec.Raw(said.json),
            instance=self._instance,
            heartbeat_s=self._beat_s,
            commands=[] if said.word.stopped else self._desk.offers.names,
            stopped=said.word.stopped,
            back_in_s=said.word.back_in_s,
        )
        try:
            json = encode_event(event, max_bytes=MAX_EVENT_BYTES)
        except InvalidEvent as error:
            self._complain(
                error.reason, f"the largest fields of this status were left out: {error}"
            )
            room = MAX_EVENT_BYTES - ENVELOPE_MAX_BYTES - len(encode(event.commands))
            fitted = fit_status(parse_status(said.json), room)
            json = encode(msgspec.structs.replace(event, status=msgspec.Raw(encode(fitted))))
        return Outgoing(self._service, self._instance, json, said.word.back_in_s)

    def _beat(self) -> None:
        if not self._publisher.heartbeat(self._service, self._instance, self._desk.loops.ask()):
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
        if process_hooks.began_in_thread():
            timeout_s = min(timeout_s, LOOK_ROUND_S)
        with contextlib.suppress(queue.Empty):
            self._wakes.get(timeout=max(0.0, timeout_s))

    def _note_failure(self, error: BusUnavailable) -> None:
        self._attempt += 1
        self._desk.record.note_failure(error)
        if self._attempt == 1:
            log.error(
                "service %s cannot reach Redis at %s, and goes on without it: %s",
                self._service,
                self._address,
                error,
            )

    def _note_success(self) -> None:
        attempt, self._attempt = self._attempt, 0
        self._desk.record.connected = True
        if attempt:
            log.info("service %s reached Redis at %s", self._service, self._address)
