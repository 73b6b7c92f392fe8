"""`Service`: what lives inside users' services. No call blocks, and none raises into the host once it is made."""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from traceback import format_exc
from typing import Any, Self, TypeVar

from pulseboard.bus.commands.receiver import CommandReceiver
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import DEFAULT_NAMESPACE, Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.sdk import process_hooks
from pulseboard.sdk.builtin_commands import Pause, offer_standard
from pulseboard.sdk.command_registry import Handler
from pulseboard.sdk.command_runner import CommandRunner, Signature
from pulseboard.sdk.fields import FieldReader
from pulseboard.sdk.instruments import Counter, Gauge, Histogram, Timer
from pulseboard.sdk.internal_errors import InternalErrors, is_hosts_own
from pulseboard.sdk.log_buffer import LogBuffer
from pulseboard.sdk.log_handler import ServiceLogHandler, name_level
from pulseboard.sdk.metric_registry import AnyInstrument, MetricRegistry
from pulseboard.sdk.pending import Pending
from pulseboard.sdk.scrubber import Scrubber
from pulseboard.sdk.sender import BackgroundSender
from pulseboard.sdk.stats import ServiceStats
from pulseboard.sdk.status_encoding import text_of
from pulseboard.sdk.usage_warnings import UsageWarnings
from pulseboard.wire.codec import encode
from pulseboard.wire.errors import ConfigError, InvalidEvent
from pulseboard.wire.events.command import check_command_key
from pulseboard.wire.events.log import parse_level
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.events.status import MAX_BACK_IN_S, MAX_HEARTBEAT_S
from pulseboard.wire.names import DEFAULT_PREFIX, check_instance_name, check_service_name

ANSWER_TIMEOUT_S = 2.0
MIN_HEARTBEAT_S = 0.05
"""A shorter rhythm floods Redis and tells nobody more."""
METRICS_EVERY_S = (0.05, 3_600.0)

log = logging.getLogger("pulseboard.service")

H = TypeVar("H", bound=Handler)


class Service:
    """A service on the board: `with Service("balance-sync", heartbeat_s=5) as service: service.update(done=1)`.

    `heartbeat_s` is the rhythm in which it gives a sign of life, from a thread of its own: 0.05 to 86,400 seconds. The instance
    is `host:pid` unless named. Redis is where `redis_url` or the environment says (REDIS_URL, or REDIS_HOST and REDIS_PORT);
    if it is away the service goes on, and its latest status is sent when Redis comes.

    It says goodbye when the process exits, and when SIGTERM ends it: a process that leaves the signal alone gets a handler
    that says goodbye and then ends as before, unless `stop_on_sigterm` is False or it is started off the main thread.

    Passwords, tokens and the like are masked in log lines before these leave the process; `mask` are regular expressions of
    which the groups, or the whole where there are none, are masked as well.

    What it does when it is told to, it says by `command` and `offer`. With a `command_key` (or PULSEBOARD_COMMAND_KEY) it obeys
    only commands that a server with the same key has signed.

    Its metrics are sent every `metrics_every_s`: 0.05 to 3,600 seconds.

    Raises ConfigError or InvalidName for a name, rhythm, mask or namespace that cannot be one; nothing later raises.
    """

    def __init__(
        self,
        name: str,
        *,
        heartbeat_s: float = 5.0,
        instance: str | None = None,
        redis_url: str | None = None,
        namespace: str | None = None,
        channel_prefix: str | None = None,
        stop_on_sigterm: bool = True,
        mask: Iterable[str | re.Pattern[str]] = (),
        command_key: str | None = None,
        metrics_every_s: float = 5.0,
    ) -> None:
        self.name = check_service_name(name)
        if not (_is_number(heartbeat_s) and MIN_HEARTBEAT_S <= heartbeat_s <= MAX_HEARTBEAT_S):
            raise ConfigError(
                f"heartbeat_s is a number of seconds from {MIN_HEARTBEAT_S:g} to {MAX_HEARTBEAT_S:.0f}, not {text_of(heartbeat_s)[:80]!a}"
            )
        self.heartbeat_s = float(heartbeat_s)
        if not (
            _is_number(metrics_every_s)
            and METRICS_EVERY_S[0] <= metrics_every_s <= METRICS_EVERY_S[1]
        ):
            least, most = METRICS_EVERY_S
            raise ConfigError(
                f"metrics_every_s is a number of seconds from {least:g} to {most:.0f}, not {text_of(metrics_every_s)[:80]!a}"
            )
        self._named = instance is not None
        self.instance = check_instance_name(instance) if instance is not None else ""
        self._redis_url = redis_url
        self._keys = Keys(namespace or os.environ.get("PULSEBOARD_NAMESPACE") or DEFAULT_NAMESPACE)
        self._prefix = (
            channel_prefix or os.environ.get("PULSEBOARD_CHANNEL_PREFIX") or DEFAULT_PREFIX
        )
        self._complaints = UsageWarnings(name)
        self._fields = FieldReader(self._complaints)
        # Taken to start alone: neither an update nor a stop waits for anybody. Reentrant, for a signal handler that starts.
        self._starting = threading.RLock()
        self._launching = self._wanted = False
        self._runs = itertools.count(1)
        self._masks = Scrubber(mask)
        self._desk = Pending(
            InternalErrors(name),
            LogBuffer(self._masks),
            MetricRegistry(self._complaints.tell),
            float(metrics_every_s),
        )
        self._pause = Pause()
        self._command_key = check_command_key(
            command_key or os.environ.get("PULSEBOARD_COMMAND_KEY") or None
        )
        # The latest there was, as long as its thread holds on to it; weak, since it holds on to its service.
        self._find_courier: Callable[[], BackgroundSender | None] = _nobody
        self._forked = False
        self._goodbye_on_sigterm = stop_on_sigterm
        self._number = process_hooks.receive(self, name, named=self._named)
        if not self._named:
            self.instance = self._default_instance()

    def start(self) -> Self:
        """Appear on the board and begin to beat, and watch the event loop this is called in. Starting twice is starting once."""
        with self._desk.guard:
            with contextlib.suppress(RuntimeError):  # not called in one
                self._desk.loops.add(asyncio.get_running_loop())
            self._wanted = True
            self._appear()
        return self

    def stop(self, *, back_in_s: float | None = None) -> None:
        """Send what is waiting and say goodbye, within 2 s; then the service may be started again.

        With `back_in_s` the goodbye is a planned one: the board counts down, and alarms only when neither this instance nor
        a new one of the service has come by then. The goodbye that was said first stands, whatever a later stop says.
        """
        with self._desk.guard:
            absence = self._check_absence(back_in_s)
            if absence is not None and self._running() is None:
                self._complaints.tell(
                    "late-absence",
                    "back_in_s came when the service was stopped already, and was not told",
                )
            self.dismiss(absence)
            process_hooks.stop([self])

    def update(self, /, **fields: Any) -> None:
        """Merge `fields` into the status and publish the whole of it. Before `start` it is only kept.

        The fields are read at once, so the caller may change their values afterwards.
        """
        try:  # what the guard does as well, for a call that hosts make all the time
            self._desk.outbox.merge(self._fields.read(fields))
            self._publish()
        except Exception as error:
            if not self._desk.guard.swallow(error):
                raise

    def replace(self, status: dict[str, Any]) -> None:
        """Make `status` the whole status and publish it. It is read at once, so the caller may change it afterwards."""
        with self._desk.guard:
            try:
                said = self._fields.read(dict(status))
            # Whatever was given instead of a dict may raise anything at all.
            except Exception as error:
                if is_hosts_own(error):
                    raise
                self._complaints.tell(
                    "status",
                    f"a status is a dict, and this one was not published: {text_of(error)}",
                )
                return
            self._desk.outbox.replace(said)
            self._publish()

    def log(self, level: str | int, message: str, /, **fields: Any) -> None:
        """Log a line: it goes to the board, and nowhere else.

        `level` is debug, info, warning, error or critical, or a number of `logging`. Within an `except` block of yours,
        `exc_info=True` adds the traceback. The fields are read at once.
        """
        with self._desk.guard:
            traceback = format_exc() if fields.pop("exc_info", False) and sys.exc_info()[0] else ""
            try:
                level = name_level(level) if isinstance(level, int) else parse_level(level)
            except (InvalidEvent, AttributeError) as error:
                self._complaints.tell("level", f"{error}; it is shown as info")
                level = "info"
            self._write_line(level, text_of(message), "", fields, traceback)

    def log_handler(self, level: int | str = logging.NOTSET) -> logging.Handler:
        """Return a handler for `logging` that sends what is logged to the board: `logging.getLogger().addHandler(…)`.

        Of Pulseboard's own loggers it takes nothing.
        """
        return ServiceLogHandler(self._write_line, self._desk.guard, level)

    def command(self, name: str, description: str | None = None) -> Callable[[H], H]:
        """Offer a command, done by the function that this decorates: `@service.command("trigger")`.

        Its arguments are given by name and checked against its annotations, as msgspec reads them; what it returns is told
        as JSON. One that is async is done in the event loop that the service was started in; any other in a thread.
        Raises ConfigError for a name or arguments that cannot be told.
        """

        def offer(handler: H) -> H:
            self._desk.offers.add(name, handler, description)
            self._listen()
            return handler

        return offer

    def enable_commands(self, *names: str) -> Self:
        """Offer standard commands: ping, log-level, pause and resume (see `paused`), restart. Raises ConfigError for others."""
        offer_standard(
            self._desk.offers,
            names,
            lambda: self._pause,
            lambda back_in_s: self.stop(back_in_s=back_in_s),
        )
        self._listen()
        return self

    @property
    def paused(self) -> bool:
        """Whether it was told to pause; what that means is for its host to say."""
        return bool(self._pause)

    def wait_while_paused(self, timeout_s: float | None = None) -> bool:
        """Wait until it is told to resume, if it was told to pause; return False when `timeout_s` was over before."""
        return self._pause.wait(timeout_s)

    def counter(self, name: str) -> Counter:
        """Return the counter of this name, a total that only grows: `service.counter("synced").add()`.

        The same name gives the same instrument. One that cannot be sent, since its name is no name or that of another
        kind, or since there are too many, is complained of once in the log, and works all the same.
        """
        return self._get_instrument(Counter, name)

    def gauge(self, name: str) -> Gauge:
        """Return the gauge of this name, a value that goes up and down: `service.gauge("queue").set(7)`; else as `counter`."""
        return self._get_instrument(Gauge, name)

    def histogram(self, name: str) -> Histogram:
        """Return the histogram of this name: `service.histogram("rows").record(120)`; else as `counter`."""
        return self._get_instrument(Histogram, name)

    def timer(self, name: str) -> Timer:
        """Return the timer of this name, a histogram of seconds: `with service.timer("sync"): …`, or above a function."""
        return self._get_instrument(Timer, name)

    def watch_loop(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Tell with each beat when `loop` (or the running one) is stuck, beside the one that the service was started in.

        A loop is stuck when it has not answered for a second. It is let go when it is closed.
        """
        with self._desk.guard:
            try:
                self._desk.loops.add(asyncio.get_running_loop() if loop is None else loop)
            except (RuntimeError, TypeError) as error:
                self._complaints.tell("loop", f"this event loop cannot be watched: {error}")

    def stats(self) -> ServiceStats:
        """Return what became of all that was said in this process, and how the link to Redis is doing."""
        desk = self._desk
        return desk.record.to_stats(desk.outbox.counts(), desk.logbook.counts(), desk.guard.errors)

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
        if self._forked and self._appear():
            return
        # Should the service be stopped between these two steps, what this says comes after the goodbye and is not sent.
        courier = self._find_courier()
        if courier is not None and not courier.dismissed:
            courier.say()

    def _listen(self) -> None:
        """Make known what is offered by now, and that whoever listens for nothing listens as well."""
        with self._desk.guard:
            offers = self._desk.offers
            if offers and offers.find("ping") is None:
                offer_standard(offers, ("ping",), lambda: self._pause, lambda _: None)
            self._publish()

    def _make_commander(
        self, address: RedisAddress, tell: Callable[[Receipt], None]
    ) -> CommandRunner:
        key = self._command_key
        return CommandRunner(
            self.name,
            self.instance,
            self._desk.offers,
            lambda run: CommandReceiver(address, self._keys, self.name, self.instance, run),
            None if key is None else Signature(key, self._keys.namespace),
            self._desk.loops,
            self._masks,
            self._desk.guard,
            tell,
            lambda message, traceback: self._write_line(
                "error", message, "pulseboard.command", {}, traceback
            ),
        )

    def _write_line(
        self, level: str, message: str, logger: str, fields: dict[str, Any], traceback: str
    ) -> None:
        json = encode(self._fields.read(fields)) if fields else b""
        self._desk.logbook.write(level, message, logger, json, traceback)
        if (courier := self._running()) is not None:
            courier.note_line()

    def _get_instrument(self, kind: type[AnyInstrument], name: Any) -> AnyInstrument:
        with self._desk.guard:
            meter = self._desk.meter
            is_first = not meter
            instrument = meter.get(kind, name)
            if is_first and (courier := self._running()) is not None:
                courier.note_metric()
            return instrument
        return kind("", self._complaints.tell)

    def _running(self) -> BackgroundSender | None:
        courier = self._find_courier()
        return courier if courier is not None and not courier.dismissed else None

    def _check_absence(self, back_in_s: Any) -> float | None:
        if back_in_s is None:
            return None
        if _is_number(back_in_s) and 0 < back_in_s <= MAX_BACK_IN_S:
            return float(back_in_s)
        self._complaints.tell(
            "absence",
            f"back_in_s must be more than 0 and at most {MAX_BACK_IN_S:.0f} seconds, not {text_of(back_in_s)[:80]};"
            " the goodbye was sent without it",
        )
        return None

    def _appear(self) -> bool:
        """Begin a run, if one is wanted and there is none; return whether it was done here."""
        launched = False
        with self._starting:
            # A signal handler may start and stop it in the middle of this: it leaves that to the loop, which looks once more.
            while self._is_due() and not self._launching:
                self._launching = True
                try:
                    if self._is_due() and not self._launch():
                        break
                    launched = True
                    if (
                        not self._wanted
                    ):  # any more; and who wants it again by now is seen to by the next look
                        self._dismiss_courier(None)
                finally:
                    self._launching = False
        return launched

    def _is_due(self) -> bool:
        return self._wanted and self._running() is None

    def _launch(self) -> bool:
        self._forked = False
        try:
            address = RedisAddress.from_env(url=self._redis_url)
        except ConfigError as error:
            log.error("service %s stays off the board: %s", self.name, error)
            return False
        courier = BackgroundSender(
            self.name,
            self.instance,
            self.heartbeat_s,
            self._desk,
            self._complaints.tell,
            Publisher(address, self._keys, prefix=self._prefix, timeout_s=ANSWER_TIMEOUT_S),
            str(address),
            next(self._runs),
            partial(self._make_commander, address),
            self._find_courier(),
        )
        self._find_courier = weakref.ref(courier)
        try:
            courier.say()
            courier.start()
        except BaseException as error:
            courier.dismissed = True
            if not isinstance(error, RuntimeError):
                raise
            # No more threads, or the interpreter is shutting down.
            log.error("service %s stays off the board: %s", self.name, error)
            return False
        process_hooks.watch_the_end(sigterm=self._goodbye_on_sigterm)
        return True

    def dismiss(self, back_in_s: float | None = None) -> BackgroundSender | None:
        """Begin to stop, and return what is to be waited for: also one who is on the way out already. For `host` only."""
        self._forked = self._wanted = False
        return self._dismiss_courier(back_in_s)

    def _dismiss_courier(self, back_in_s: float | None) -> BackgroundSender | None:
        courier = self._find_courier()
        if courier is not None and not courier.dismissed:
            courier.dismiss(back_in_s)
        return courier

    def _default_instance(self) -> str:
        host = "".join(char for char in socket.gethostname() if char.isprintable() and char != "/")[
            :100
        ]
        number = f"-{self._number}" if self._number > 1 else ""
        return f"{host}:{os.getpid()}{number}"

    def note_fork(self) -> None:
        """Let go of what is the parent's. For `host` only."""
        # Only the forking thread lives on in the child: locks may be held by threads that are gone, and the connection is
        # the parent's. The child becomes an instance of its own when it first says something, not before: most children
        # are about to exec another program.
        self._starting, self._launching = threading.RLock(), False
        self._desk = self._desk.renew(InternalErrors(self.name))
        self._pause = self._pause.renew()
        self._forked = self._forked or self._running() is not None
        self._find_courier = _nobody
        if not self._named:
            self.instance = self._default_instance()


def _nobody() -> None:
    return None


def _is_number(value: Any) -> bool:
    # True is an int to Python, and never a number of seconds.
    return isinstance(value, int | float) and not isinstance(value, bool)
