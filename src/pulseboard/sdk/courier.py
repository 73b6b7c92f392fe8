"""The courier: the one thread of a service that talks to Redis. It sends, beats, and comes back by itself after an outage."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pulseboard.bus.client import retry_delay_s
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.sdk.guard import Guard
from pulseboard.sdk.loops import LoopWatch
from pulseboard.sdk.outbox import Outbox
from pulseboard.sdk.stats import LinkRecord
from pulseboard.wire.errors import BusUnavailable

BATCH_MAX = 64

log = logging.getLogger("pulseboard.service")


@dataclass(frozen=True)
class Desk:
    """What the couriers of one service share, one after the other."""

    guard: Guard
    outbox: Outbox = field(default_factory=Outbox)
    loops: LoopWatch = field(default_factory=LoopWatch)
    record: LinkRecord = field(default_factory=LinkRecord)


class Courier:
    """Sends what is in the outbox, and a beat every `beat_s`, until dismissed. `say_again` offers the status anew.

    It waits for `predecessor`, who may still be on the way out: two at once would overtake each other.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        beat_s: float,
        desk: Desk,
        say_again: Callable[[], None],
        publisher: Publisher,
        address: str,
        predecessor: "Courier | None" = None,
    ) -> None:
        self._service = service
        self._instance = instance
        self._beat_s = beat_s
        self._desk = desk
        self._say_again = say_again
        self._publisher = publisher
        self._address = address
        self._predecessor = predecessor
        # A SimpleQueue, since a signal handler may call update() in the middle of an update(): an Event would deadlock.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._beating = True
        self._stopping = False
        self._attempt = 0
        self._next_beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"pulseboard-{service}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the outbox has something."""
        if self._wakes.empty():
            self._wakes.put(None)

    def dismiss(self, goodbye: Outgoing | None) -> None:
        """Ask for an end: send what is waiting, then the goodbye. Does not wait for it."""
        # In this order, so that no beat follows the goodbye, and the thread does not leave before it has it.
        self._beating = False
        if goodbye is not None:
            self._desk.outbox.offer(goodbye)
        self._stopping = True
        self.wake()

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
            while not self._stopping:
                try:
                    self._turn()
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
        try:
            self._send_all()
            if time.monotonic() >= self._next_beat:
                if self._beating:
                    self._beat()
                self._next_beat = max(self._next_beat + self._beat_s, time.monotonic())
        except BusUnavailable as error:
            self._note_failure(error)
            self._pause()
            return
        self._note_success()
        self._wait(self._next_beat - time.monotonic())

    def _send_all(self) -> None:
        if self._attempt:
            # What was said during the pause between two attempts is history as well, not only what failed to be sent.
            self._desk.outbox.keep_latest()
        while batch := self._desk.outbox.take(BATCH_MAX):
            self._send(batch)

    def _send(self, batch: list[Outgoing]) -> None:
        try:
            self._publisher.publish(batch)
        except BaseException:
            self._desk.outbox.keep_latest(batch)
            raise
        self._desk.outbox.confirm(batch)

    def _beat(self) -> None:
        if not self._publisher.beat(self._service, self._instance, self._desk.loops.ask()):
            self._say_again()
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
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, timeout_s: float) -> None:
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
