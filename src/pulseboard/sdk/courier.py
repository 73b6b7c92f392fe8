"""The courier: the one thread of a service that talks to Redis. It sends, beats, and comes back by itself after an outage."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import retry_delay_s
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.sdk.outbox import Outbox
from pulseboard.wire.errors import BusUnavailable

BATCH_MAX = 64

log = logging.getLogger("pulseboard.service")


class Courier:
    """Sends what is in the outbox, and a beat every `beat_s`, until stopped. `read_status` gives the status as an event."""

    def __init__(
        self,
        service: str,
        instance: str,
        beat_s: float,
        outbox: Outbox,
        read_status: Callable[[], bytes],
        address: RedisAddress,
        keys: Keys,
        prefix: str,
    ) -> None:
        self._service = service
        self._instance = instance
        self._beat_s = beat_s
        self._outbox = outbox
        self._read_status = read_status
        self._address = address
        self._publisher = Publisher(address, keys, prefix=prefix)
        # A SimpleQueue, since a signal handler may call update() in the middle of an update(): an Event would deadlock.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False
        self._goodbye: bytes | None = None
        self._attempt = 0
        self._thread = threading.Thread(target=self._run, name=f"pulseboard-{service}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the outbox has something."""
        if self._wakes.empty():
            self._wakes.put(None)

    def dismiss(self, goodbye: bytes) -> None:
        """Ask for an end: send what is waiting, then the goodbye. Does not wait for it."""
        self._goodbye = goodbye
        self._stopping = True
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Wait until all is sent; give up after `timeout_s`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        next_beat = time.monotonic()
        try:
            while not self._stopping:
                try:
                    self._send_all()
                    if time.monotonic() >= next_beat:
                        self._beat()
                        next_beat = max(next_beat + self._beat_s, time.monotonic())
                except BusUnavailable as error:
                    self._wait_out(error)
                    continue
                except Exception:
                    # Nobody sees a thread die: the service would vanish from the board while it works on.
                    if not self._attempt:
                        log.exception("service %s: sending failed in a way that it should not", self._service)
                    self._wait_out(BusUnavailable("sending failed"))
                    continue
                self._note_success()
                self._wait(next_beat - time.monotonic())
            self._leave()
        finally:
            self._publisher.close()

    def _send_all(self) -> None:
        if self._attempt:
            # What was said during the pause between two attempts is history as well, not only what failed to be sent.
            self._outbox.keep_latest([])
        while batch := self._outbox.take(BATCH_MAX):
            self._send(batch)

    def _send(self, batch: list[bytes]) -> None:
        try:
            self._publisher.publish([Outgoing(self._service, self._instance, json) for json in batch])
        except BusUnavailable:
            self._outbox.keep_latest(batch)
            raise

    def _beat(self) -> None:
        if not self._publisher.beat(self._service, self._instance):
            self._outbox.offer(self._read_status())
            self._send_all()

    def _leave(self) -> None:
        if self._goodbye is not None:
            self._outbox.offer(self._goodbye)
        try:
            self._send_all()
        except BusUnavailable as error:
            log.warning("service %s left without a goodbye: %s", self._service, error)

    def _wait_out(self, error: BusUnavailable) -> None:
        self._attempt += 1
        if self._attempt == 1:
            log.error(
                "service %s cannot reach Redis at %s, and goes on without it: %s", self._service, self._address, error
            )
        deadline = time.monotonic() + retry_delay_s(self._attempt)
        # Updates wake the thread too; they must not turn the pause into a storm of attempts.
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, timeout_s: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._wakes.get(timeout=max(0.0, timeout_s))

    def _note_success(self) -> None:
        if self._attempt:
            log.info("service %s reached Redis at %s", self._service, self._address)
        self._attempt = 0
