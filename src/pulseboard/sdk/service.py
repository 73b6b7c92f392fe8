"""`Service`: what lives inside users' services. No call blocks, and none raises into the host once it is made."""

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
import weakref
from typing import Any, Self

import msgspec

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.keys import DEFAULT_NAMESPACE, Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.sdk import host
from pulseboard.sdk.courier import Courier, Desk
from pulseboard.sdk.guard import Guard, is_hosts_own
from pulseboard.sdk.stats import ServiceStats
from pulseboard.sdk.status import encode_value, fit_status, text_of
from pulseboard.wire.errors import ConfigError, InvalidEvent
from pulseboard.wire.events import MAX_BACK_IN_S, MAX_BEAT_S, MAX_EVENT_BYTES, StatusEvent, encode, encode_event
from pulseboard.wire.names import DEFAULT_PREFIX, check_instance_name, check_service_name

ANSWER_TIMEOUT_S = 2.0
ENVELOPE_MAX_BYTES = 2_048
"""What an event has around its status at most: names of 64 and 128 characters, escaped, and a few numbers."""

log = logging.getLogger("pulseboard.service")


class Service:
    """A service on the board: `with Service("balance-sync", beat_s=5) as service: service.update(done=1)`.

    `beat_s` is the rhythm in seconds in which it gives a sign of life, from a thread of its own. The instance is
    `host:pid` unless named. Redis is where `redis_url` or the environment says (REDIS_URL, or REDIS_HOST and REDIS_PORT);
    if it is away the service goes on, and its latest status is sent when Redis comes.

    It says goodbye when the process exits, and when SIGTERM ends it: a process that leaves the signal alone gets a handler
    that says goodbye and then ends as before, unless `goodbye_on_sigterm` is False or it is started off the main thread.

    Raises ConfigError or InvalidName for a name, rhythm or namespace that cannot be one; nothing later raises.
    """

    def __init__(
        self,
        name: str,
        *,
        beat_s: float = 5.0,
        instance: str | None = None,
        redis_url: str | None = None,
        namespace: str | None = None,
        channel_prefix: str | None = None,
        goodbye_on_sigterm: bool = True,
    ) -> None:
        self.name = check_service_name(name)
        if not 0 < beat_s <= MAX_BEAT_S:
            raise ConfigError(f"beat_s must be more than 0 and at most {MAX_BEAT_S:.0f} seconds, not {beat_s}")
        self.beat_s = float(beat_s)
        self._named = instance is not None
        self.instance = check_instance_name(instance) if instance is not None else ""
        self._redis_url = redis_url
        self._keys = Keys(namespace or os.environ.get("PULSEBOARD_NAMESPACE") or DEFAULT_NAMESPACE)
        self._prefix = channel_prefix or os.environ.get("PULSEBOARD_CHANNEL_PREFIX") or DEFAULT_PREFIX
        # Changed in place and encoded whole, each in one step of C that no signal handler can come between.
        self._status: dict[str, msgspec.Raw] = {}
        self._said = object()
        self._complaints: set[str] = set()
        # Reentrant, since a signal handler may update in the middle of an update.
        self._lock = threading.RLock()
        self._desk = Desk(Guard(name))
        self._courier: Courier | None = None
        self._leaving: weakref.ref[Courier] | None = None
        self._forked = False
        self._goodbye_on_sigterm = goodbye_on_sigterm
        self._number = host.receive(self, name, named=self._named)
        if not self._named:
            self.instance = self._default_instance()

    def start(self) -> Self:
        """Appear on the board and begin to beat, and watch the event loop this is called in. Starting twice is starting once."""
        with self._desk.guard:
            with contextlib.suppress(RuntimeError):  # not called in one
                self._desk.loops.add(asyncio.get_running_loop())
            with self._lock:
                if self._courier is None:
                    self._launch()
        return self

    def stop(self, *, back_in_s: float | None = None) -> None:
        """Send what is waiting and say goodbye, within 2 s; then the service may be started again.

        With `back_in_s` the goodbye is a planned one: the board counts down, and alarms only when neither this instance nor
        a new one of the service has come by then.
        """
        with self._desk.guard:
            self.dismiss(self._check_absence(back_in_s))
            host.stop([self])

    def update(self, /, **fields: Any) -> None:
        """Merge `fields` into the status and publish the whole of it. Before `start` it is only kept.

        The fields are read at once, so the caller may change their values afterwards.
        """
        with self._desk.guard:
            said = self._encode_fields(fields)
            with self._lock:
                self._status.update(said)
                self._publish()

    def replace(self, status: dict[str, Any]) -> None:
        """Make `status` the whole status and publish it. It is read at once, so the caller may change it afterwards."""
        with self._desk.guard:
            try:
                said = self._encode_fields(dict(status))
            # Whatever was given instead of a dict may raise anything at all.
            except Exception as error:
                if is_hosts_own(error):
                    raise
                self._complain("status", f"a status is a dict, and this one was not published: {text_of(error)}")
                return
            with self._lock:
                self._status = said
                self._publish()

    def watch_loop(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Tell with each beat when `loop` (or the running one) is stuck, beside the one that the service was started in.

        A loop is stuck when it has not answered for a second. It is let go when it is closed.
        """
        with self._desk.guard:
            try:
                self._desk.loops.add(asyncio.get_running_loop() if loop is None else loop)
            except (RuntimeError, TypeError) as error:
                self._complain("loop", f"this event loop cannot be watched: {error}")

    def stats(self) -> ServiceStats:
        """Return what became of all that was said in this process, and how the link to Redis is doing."""
        return self._desk.record.to_stats(self._desk.outbox.counts(), self._desk.guard.errors)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *exc: object) -> None:
        # stop() waits for Redis, which an event loop must not.
        await asyncio.to_thread(self.stop)

    def _publish(self) -> None:
        said = self._said = object()
        if self._forked:
            self._launch()
            return
        while self._courier is not None:
            self._desk.outbox.offer(self._encode(self._status))
            self._courier.wake()
            # A signal handler may have updated in the middle of this, and its later status went out before ours.
            if said is self._said:
                return
            said = self._said

    def _encode_fields(self, fields: dict[Any, Any]) -> dict[str, msgspec.Raw]:
        return {text_of(name): self._encode_field(value) for name, value in fields.items()}

    def _encode_field(self, value: Any) -> msgspec.Raw:
        try:
            return encode_value(value)
        # A container of the host's own may raise anything at all, and another thread may change it meanwhile.
        except Exception as error:
            if is_hosts_own(error):
                raise
            problem = f"a value cannot be shown: {text_of(error)}"
            self._complain("value", problem)
            return msgspec.Raw(encode(f"({problem[:200]})"))

    def _encode(
        self, status: dict[str, msgspec.Raw], *, goodbye: bool = False, back_in_s: float | None = None
    ) -> Outgoing:
        event = StatusEvent(
            service=self.name,
            timestamp=time.time_ns() // 1_000_000,
            status=msgspec.Raw(encode(status)),
            instance=self.instance,
            beat_s=self.beat_s,
            goodbye=goodbye,
            back_in_s=back_in_s,
        )
        try:
            json = encode_event(event, max_bytes=MAX_EVENT_BYTES)
        except InvalidEvent as error:
            self._complain(error.reason, f"the largest fields of this status were left out: {error}")
            fitted = fit_status(status, MAX_EVENT_BYTES - ENVELOPE_MAX_BYTES)
            json = encode(msgspec.structs.replace(event, status=msgspec.Raw(encode(fitted))))
        return Outgoing(self.name, self.instance, json, back_in_s)

    def _check_absence(self, back_in_s: Any) -> float | None:
        if back_in_s is None:
            return None
        if isinstance(back_in_s, int | float) and 0 < back_in_s <= MAX_BACK_IN_S:
            return float(back_in_s)
        self._complain(
            "absence",
            f"back_in_s must be more than 0 and at most {MAX_BACK_IN_S:.0f} seconds, not {text_of(back_in_s)[:80]};"
            " the goodbye was sent without it",
        )
        return None

    def _complain(self, kind: str, message: str) -> None:
        if kind not in self._complaints:
            self._complaints.add(kind)
            log.error("service %s: %s (told once)", self.name, ascii(message[:300])[1:-1])

    def _launch(self) -> None:
        self._forked = False
        try:
            address = RedisAddress.from_env(url=self._redis_url)
        except ConfigError as error:
            log.error("service %s stays off the board: %s", self.name, error)
            return
        courier = self._courier = Courier(
            self.name,
            self.instance,
            self.beat_s,
            self._desk,
            self._say_again,
            Publisher(address, self._keys, prefix=self._prefix, timeout_s=ANSWER_TIMEOUT_S),
            str(address),
            self._find_leaving(),
        )
        try:
            self._publish()
            courier.start()
        except BaseException as error:
            self._courier = None
            if not isinstance(error, RuntimeError):
                raise
            # No more threads, or the interpreter is shutting down.
            log.error("service %s stays off the board: %s", self.name, error)
            return
        host.watch_the_end(sigterm=self._goodbye_on_sigterm)

    def _say_again(self) -> None:
        with self._lock:
            # Not after the goodbye, which may have come while the courier asked: it has all that is to be said.
            if self._courier is not None:
                self._desk.outbox.offer(self._encode(self._status))

    def dismiss(self, back_in_s: float | None = None) -> Courier | None:
        """Begin to stop, and return what is to be waited for: also one who is on the way out already. For `host` only."""
        with self._lock:
            courier, self._courier, self._forked = self._courier, None, False
            if courier is not None:
                # Weak, since a courier holds on to its service; a running thread holds on to both.
                self._leaving = weakref.ref(courier)
                goodbye = None
                try:
                    goodbye = self._encode(self._status, goodbye=True, back_in_s=back_in_s)
                finally:
                    # Without a word, should there be none.
                    courier.dismiss(goodbye)
            return self._find_leaving()

    def _find_leaving(self) -> Courier | None:
        return self._leaving() if self._leaving is not None else None

    def _default_instance(self) -> str:
        host = "".join(char for char in socket.gethostname() if char.isprintable() and char != "/")[:100]
        number = f"-{self._number}" if self._number > 1 else ""
        return f"{host}:{os.getpid()}{number}"

    def note_fork(self) -> None:
        """Let go of what is the parent's. For `host` only."""
        # Only the forking thread lives on in the child: locks may be held by threads that are gone, and the connection is
        # the parent's. The child becomes an instance of its own when it first says something, not before: most children
        # are about to exec another program.
        self._lock = threading.RLock()
        self._desk = Desk(Guard(self.name))
        self._forked = self._forked or self._courier is not None
        self._courier = self._leaving = None
        if not self._named:
            self.instance = self._default_instance()
