"""The background sender: the thread of a service that publishes all its events.

It is one loop over buffers of one shape (`buffer.py`), each due at its own time. A batch that Redis
refuses is reported once and does not hold up the others. During an outage everything waits, and the
sender reconnects by itself.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.publisher import Publisher
from pulseboard.sdk import process_hooks, receipt_queue
from pulseboard.sdk.command_runner import CommandRunner
from pulseboard.sdk.heartbeat_timer import HeartbeatTimer
from pulseboard.sdk.log_buffer import BATCHES_AT_ONCE, LineBatch
from pulseboard.sdk.metric_registry import Readings
from pulseboard.sdk.options import Identity, SenderOptions
from pulseboard.sdk.outbox import QueuedStatus, RunMarker
from pulseboard.sdk.pending import Pending
from pulseboard.sdk.route import Route
from pulseboard.sdk.status_event import StatusEventEncoder
from pulseboard.wire.codec import encode_event
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.events.metric import MetricEvent

CHILD_CHECK_S = 0.5
"""How often a child that was forked in a thread checks whether only this thread keeps it alive."""
LATE_S = 0.1
"""How long another thread may take to append a status before this thread publishes it instead."""
LAST_LINE_BATCHES = 10 * BATCHES_AT_ONCE
LAST_LINES_S = 0.3
"""Log lines before the last status: a stop may take 2 seconds, and a batch takes a quarter of a
second where the threads of the host application never rest."""

log = logging.getLogger("pulseboard.service")


class BackgroundSender:
    """Sends the events of one run of a service, from its start until its last status is sent.

    It takes no lock that a thread of the host application may hold, because a signal handler that
    stops the service waits for it. `predecessor` is the sender of the run before, which may still
    be stopping: this one waits for it, since two senders at once would overtake each other.
    """

    def __init__(
        self,
        identity: Identity,
        options: SenderOptions,
        pending: Pending,
        publisher: Publisher,
        make_runner: Callable[[Callable[[], None]], CommandRunner],
        predecessor: "BackgroundSender | None" = None,
    ) -> None:
        self._identity = identity
        self._options = options
        self._pending = pending
        self._publisher = publisher
        # A bound method of the lifecycle: it keeps the lifecycle, which only weak references know
        # otherwise, alive while this thread runs.
        self._make_runner = make_runner
        self._runner: CommandRunner | None = None
        self._predecessor = predecessor
        self._marker = RunMarker(identity.run)
        self._status_source = pending.outbox.make_source(self._marker)
        self._status_encoder = StatusEventEncoder(
            identity, options.heartbeat_s, pending.warnings.warn_once
        )
        # A SimpleQueue, since a signal handler may publish in the middle of a publish(): the lock
        # of an Event would deadlock.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._listener_cleared = False
        self._last_status_sent = False
        self.dismissed = False
        """Whether this run is to end. Set once the last status is in the outbox."""
        self._attempts = 0
        """Failed attempts to reach Redis since the last success."""
        self._routes = self._make_routes()
        self._thread = threading.Thread(
            target=self._run, name=f"pulseboard-sender-{identity.service}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def publish_status(self) -> None:
        """Put the status of this moment into the outbox. Signal-safe and thread-safe."""
        self._pending.outbox.put_current(self._status_source)
        if self._wakes.empty():
            self._wakes.put(None)

    def wake(self) -> None:
        """Let the thread look for a batch that has become due."""
        self._wakes.put(None)

    def wake_for_lines(self) -> None:
        """Wake the thread for log lines, unless it has been woken for those that wait already."""
        if not self._pending.logs.is_announced:
            self._pending.logs.is_announced = True
            self._wakes.put(None)

    def dismiss(self, back_in_s: float | None) -> None:
        """Begin to end the run: everything that waits is sent, then the last status."""
        try:
            self._pending.outbox.put_last(self._marker._replace(stopped=True, back_in_s=back_in_s))
        finally:
            if self._runner is not None:
                self._runner.dismiss()
            # At the end, for a signal handler that stops the service in the middle of this call: it
            # must not wait for a last status that is not in the outbox yet.
            self.dismissed = True
            self._wakes.put(None)

    def join(self, timeout_s: float | None) -> None:
        """Wait until everything is sent, for at most `timeout_s`."""
        # A signal handler may wait for a thread in the middle of its start.
        with contextlib.suppress(RuntimeError):
            self._thread.join(timeout_s)

    def _make_routes(self) -> tuple[Route[Any], ...]:
        """Return the routes in the order of sending: no event may precede the first status."""
        pending = self._pending
        return (
            Route("statuses", pending.outbox, self._publish_statuses),
            Route(
                "heartbeats",
                HeartbeatTimer(self._options.heartbeat_s, pending.loops),
                self._publish_heartbeat,
            ),
            Route(
                "receipts",
                pending.receipts,
                self._publisher.publish_receipt,
                refusal="Redis refused the receipt of a command, which was dropped; check the"
                " permissions of this Redis user",
                last_batches=receipt_queue.MAX_RECEIPTS,
            ),
            Route(
                "lines",
                pending.logs,
                self._publish_lines,
                refusal="Redis refused log lines, which were dropped; check the permissions of"
                " this Redis user",
                last_batches=LAST_LINE_BATCHES,
                last_s=LAST_LINES_S,
            ),
            Route(
                "metrics",
                pending.metrics,
                self._publish_metrics,
                refusal="metrics were not sent, and are tried again at the next interval",
                last_batches=1,
            ),
        )

    def _run(self) -> None:
        try:
            if self._predecessor is not None:
                self._predecessor.join(None)
                self._predecessor = None
            self._pending.begin_run(self._identity.run)
            while not self.dismissed:
                try:
                    self._turn()
                    if process_hooks.only_daemons_remain():
                        self.dismiss(None)
                except Exception as error:
                    # A thread that died would be invisible: the service would vanish from the board
                    # while it works on.
                    if not self._pending.errors.swallow(error):
                        raise
                    self._attempts += 1
                    self._pending.outbox.coalesce()
                    self._wait_before_retry()
            with self._pending.errors:
                self._send_last()
        finally:
            self._pending.link.connected = False
            if self._runner is not None:
                self._runner.dismiss()
            # The routes hold methods of this object. Without the cycle it is freed at once, and
            # with it the number of its service among those of the same name.
            self._routes = ()
            with self._pending.errors:
                self._publisher.close()

    def _turn(self) -> None:
        """Send each batch that is due, then wait until the next one is."""
        try:
            self._send_due()
        except BusUnavailable as error:
            self._record_failure(error)
            self._pending.outbox.coalesce()
            self._wait_before_retry()
            return
        if self.dismissed:
            return
        self._record_success()
        outbox = self._pending.outbox
        misses, timeout_s = outbox.misses_latest, self._next_due() - time.monotonic()
        self._wait(min(timeout_s, LATE_S) if misses else timeout_s)
        if misses and outbox.misses_latest and not self.dismissed:
            self.publish_status()

    def _send_due(self) -> None:
        self._prepare()
        for route in self._routes:
            # `_send_last` sends the rest, in its own order.
            if self.dismissed or self._last_status_sent:
                return
            if route.buffer.due() <= time.monotonic():
                self._send(route)
            # Only once a status is sent: the server sends commands to instances that it knows.
            self._start_runner()

    def _send(self, route: Route[Any]) -> bool:
        return route.send_batch(self._pending.warnings.warn_once)

    def _prepare(self) -> None:
        if self._attempts:
            # The latest status also replaces those of the pause between two attempts.
            self._pending.outbox.coalesce()
        if not self._listener_cleared:
            # Redis may still list an earlier run of this instance as a listener for commands.
            self._publisher.forget_listener(self._identity.service, self._identity.instance)
            self._listener_cleared = True

    def _start_runner(self) -> None:
        is_ending = self.dismissed or self._last_status_sent
        if self._pending.commands and self._runner is None and not is_ending:
            self._runner = self._make_runner(self.wake)
            self._runner.start()

    def _next_due(self) -> float:
        """Return when the next batch is due (monotonic)."""
        if self._last_status_sent:
            # Nothing may follow. `dismiss`, which is about to return, wakes this thread.
            return time.monotonic() + self._options.heartbeat_s
        return min(route.buffer.due() for route in self._routes)

    def _publish_statuses(self, batch: list[QueuedStatus]) -> None:
        is_last = batch[-1].marker.stopped
        if is_last:
            self._end_commands()
            self._send_rest()
        names = self._pending.commands.names
        self._publisher.publish([self._status_encoder.encode(status, names) for status in batch])
        self._last_status_sent = is_last

    def _publish_heartbeat(self, lag_ms: int) -> None:
        identity = self._identity
        if not self._publisher.heartbeat(identity.service, identity.instance, lag_ms):
            # Redis has lost the status. If the service stopped meanwhile, this status comes after
            # the last one and is not sent.
            self.publish_status()

    def _publish_lines(self, batch: LineBatch) -> None:
        self._publisher.publish_lines(self._identity.service, self._identity.instance, batch)

    def _publish_metrics(self, readings: Readings) -> None:
        service, instance = self._identity.service, self._identity.instance
        now_ms = time.time_ns() // 1_000_000
        event = MetricEvent(service, readings.metrics, instance, now_ms, readings.kinds)
        self._publisher.publish_metrics(service, instance, encode_event(event))

    def _end_commands(self) -> None:
        """Begin no more commands, and report the result of each that was begun."""
        if self._runner is not None:
            self._runner.dismiss()
            self._runner.abandon()

    def _send_rest(self) -> None:
        """Send all other buffers, within the bounds of each: nothing may follow the last status."""
        for route in self._routes:
            deadline = time.monotonic() + route.last_s
            for _ in range(route.last_batches):
                if not self._send(route) or time.monotonic() > deadline:
                    break

    def _send_last(self) -> None:
        statuses = self._routes[0]
        try:
            self._prepare()
            while not self._last_status_sent and self._send(statuses):
                pass
        except BusUnavailable as error:
            self._pending.outbox.coalesce()
            self._pending.link.record_failure(error)
            log.warning(
                "service %s stopped without a graceful stop, so the board will show it as lost;"
                " check that Redis can be reached: %s",
                self._identity.service,
                error,
            )

    def _wait_before_retry(self) -> None:
        deadline = time.monotonic() + retry_delay_s(self._attempts)
        # Updates wake the thread too; they must not turn the pause into a storm of attempts.
        while not self.dismissed and (left := deadline - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, timeout_s: float) -> None:
        if process_hooks.was_forked_in_thread():
            timeout_s = min(timeout_s, CHILD_CHECK_S)
        with contextlib.suppress(queue.Empty):
            self._wakes.get(timeout=max(0.0, timeout_s))

    def _record_failure(self, error: BusUnavailable) -> None:
        self._attempts += 1
        self._pending.link.record_failure(error)
        if self._attempts == 1:
            log.error(
                "service %s cannot reach Redis at %s; it goes on without it and reconnects by"
                " itself: %s",
                self._identity.service,
                self._options.redis,
                error,
            )

    def _record_success(self) -> None:
        attempts, self._attempts = self._attempts, 0
        self._pending.link.connected = True
        if attempts:
            log.info("service %s reached Redis at %s", self._identity.service, self._options.redis)
