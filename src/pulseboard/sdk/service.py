"""`Service`: what lives inside users' services. No call blocks, and none raises into the host once it is made."""

import asyncio
import atexit
import logging
import os
import socket
import threading
import time
import weakref
from collections import Counter
from typing import Any, Self

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.keys import DEFAULT_NAMESPACE, Keys
from pulseboard.sdk.courier import Courier
from pulseboard.sdk.outbox import Outbox
from pulseboard.sdk.status import encode_status
from pulseboard.wire.errors import ConfigError, InvalidEvent
from pulseboard.wire.events import MAX_BEAT_S, MAX_EVENT_BYTES, StatusEvent, encode_event
from pulseboard.wire.names import DEFAULT_PREFIX, check_instance_name, check_service_name

STOP_TIMEOUT_S = 2.0

log = logging.getLogger("pulseboard.service")

_running: "weakref.WeakSet[Service]" = weakref.WeakSet()
_made: Counter[str] = Counter()


class Service:
    """A service on the board: `with Service("balance-sync", beat_s=5) as service: service.update(done=1)`.

    `beat_s` is the rhythm in seconds in which it gives a sign of life, from a thread of its own. The instance is
    `host:pid` unless named. Redis is where `redis_url` or the environment says (REDIS_URL, or REDIS_HOST and REDIS_PORT);
    if it is away the service goes on, and its latest status is sent when Redis comes.

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
    ) -> None:
        self.name = check_service_name(name)
        if not 0 < beat_s <= MAX_BEAT_S:
            raise ConfigError(f"beat_s must be more than 0 and at most {MAX_BEAT_S:.0f} seconds, not {beat_s}")
        self.beat_s = float(beat_s)
        self._named = instance is not None
        _made[name] += 1
        self._number = _made[name]
        self.instance = check_instance_name(instance) if instance is not None else self._default_instance()
        self._redis_url = redis_url
        self._keys = Keys(namespace or os.environ.get("PULSEBOARD_NAMESPACE") or DEFAULT_NAMESPACE)
        self._prefix = channel_prefix or os.environ.get("PULSEBOARD_CHANNEL_PREFIX") or DEFAULT_PREFIX
        self._status: dict[str, Any] = {}
        self._complaints: set[str] = set()
        # Reentrant, since a signal handler may update in the middle of an update.
        self._lock = threading.RLock()
        self._outbox = Outbox()
        self._courier: Courier | None = None
        self._forked = False

    def start(self) -> Self:
        """Appear on the board and begin to beat. Starting twice is starting once."""
        with self._lock:
            if self._courier is None:
                self._launch()
        return self

    def stop(self) -> None:
        """Send what is waiting and say goodbye, within 2 s; then the service may be started again."""
        with self._lock:
            courier, self._courier, self._forked = self._courier, None, False
            _running.discard(self)
            goodbye = self._encode(goodbye=True)
        if courier is not None:
            courier.stop(goodbye, STOP_TIMEOUT_S)

    def update(self, /, **fields: Any) -> None:
        """Merge `fields` into the status and publish the whole of it. Before `start` it is only kept."""
        with self._lock:
            self._status = {**self._status, **fields}
            self._publish()

    def replace(self, status: dict[str, Any]) -> None:
        """Make `status` the whole status and publish it. It is read at once, so the caller may change it afterwards."""
        with self._lock:
            try:
                self._status = dict(status)
            except (TypeError, ValueError) as error:
                self._complain("status", f"a status is a dict with string keys: {error}")
                return
            self._publish()

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
        if self._forked:
            self._launch()
        elif self._courier is not None and (event := self._encode()) is not None:
            self._outbox.offer(event)
            self._courier.wake()

    def _encode(self, *, goodbye: bool = False) -> bytes | None:
        try:
            event = StatusEvent(
                service=self.name,
                timestamp=time.time_ns() // 1_000_000,
                status=encode_status(self._status),
                instance=self.instance,
                beat_s=self.beat_s,
                goodbye=goodbye,
            )
            return encode_event(event, max_bytes=MAX_EVENT_BYTES)
        except InvalidEvent as error:
            self._complain(error.reason, str(error))
        # A value's own __str__ or __iter__ may raise anything at all, and that is not the host's trouble.
        except Exception as error:  # noqa: BLE001
            self._complain("status", f"this status cannot be written as JSON: {error!r}")
        return None

    def _complain(self, kind: str, message: str) -> None:
        if kind not in self._complaints:
            self._complaints.add(kind)
            log.error("service %s: %s; this status was not published (told once)", self.name, message[:300])

    def _launch(self) -> None:
        self._forked = False
        try:
            address = RedisAddress.from_env(url=self._redis_url)
        except ConfigError as error:
            log.error("service %s stays off the board: %s", self.name, error)
            return
        self._courier = Courier(
            self.name, self.instance, self.beat_s, self._outbox, self._read_status, address, self._keys, self._prefix
        )
        if (event := self._encode()) is not None:
            self._outbox.offer(event)
        try:
            self._courier.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            log.error("service %s stays off the board: %s", self.name, error)
            self._courier = None
            return
        _running.add(self)

    def _read_status(self) -> bytes | None:
        with self._lock:
            return self._encode()

    def _default_instance(self) -> str:
        host = "".join(char for char in socket.gethostname() if char.isprintable() and char != "/")[:100]
        number = f"-{self._number}" if self._number > 1 else ""
        return f"{host}:{os.getpid()}{number}"

    def note_fork(self) -> None:
        """Let go of what is the parent's. For the fork hook only."""
        # Only the forking thread lives on in the child: locks may be held by threads that are gone, and the connection is
        # the parent's. The child becomes an instance of its own when it first says something, not before: most children
        # are about to exec another program.
        self._lock = threading.RLock()
        self._outbox = Outbox()
        self._courier = None
        self._forked = True
        if not self._named:
            self.instance = self._default_instance()


def _note_fork() -> None:
    for service in list(_running):
        service.note_fork()


def _stop_all() -> None:
    for service in list(_running):
        service.stop()


os.register_at_fork(after_in_child=_note_fork)
atexit.register(_stop_all)
