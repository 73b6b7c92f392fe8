"""`Service`: the public class of the SDK.

Once it is made, no call blocks or raises into the host application.
"""

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterable
from traceback import format_exc
from typing import Any, Self, TypeVar

from pulseboard.sdk.builtin_commands import register_builtin_commands
from pulseboard.sdk.command_registry import Handler
from pulseboard.sdk.fields import FieldReader
from pulseboard.sdk.instruments import Counter, Gauge, Histogram
from pulseboard.sdk.internal_errors import is_from_signal_handler
from pulseboard.sdk.lifecycle import Lifecycle
from pulseboard.sdk.log_handler import ServiceLogHandler, name_level
from pulseboard.sdk.metric_registry import AnyInstrument
from pulseboard.sdk.options import METRICS_EVERY_S, check_seconds, is_number, make_options
from pulseboard.sdk.pending import Pending
from pulseboard.sdk.stats import ServiceStats
from pulseboard.sdk.status_encoding import text_of
from pulseboard.sdk.timer import Timer
from pulseboard.wire.codec import encode
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.log import parse_level
from pulseboard.wire.events.status import MAX_BACK_IN_S
from pulseboard.wire.names import check_instance_name, check_service_name

H = TypeVar("H", bound=Handler)


class Service:
    """A background service that reports to the board.

        with Service("balance-sync", heartbeat_s=5) as service:
            service.update(done=1)

    No call blocks: a thread of its own publishes. While Redis is away the service goes on, and its
    latest status is published when Redis is back. The service stops gracefully when the process
    exits, or when SIGTERM ends it.

    Args:
        name: Name of the service: lower-case letters, digits and `._-`, at most 64 characters.
        heartbeat_s: Heartbeat interval, 0.05 to 86,400 seconds. The board shows an instance as
            lost when it has sent nothing for 2.5 intervals.
        instance: Name of this instance; `host:pid` by default.
        redis_url: Address of Redis; by default REDIS_URL, or REDIS_HOST and REDIS_PORT.
        namespace: Prefix of the Redis keys; by default PULSEBOARD_NAMESPACE.
        channel_prefix: Prefix of the channels; by default PULSEBOARD_CHANNEL_PREFIX.
        stop_on_sigterm: Install a handler for SIGTERM that stops the service gracefully and then
            ends the process as before. It is installed only by a start in the main thread, and
            only if the process has no handler of its own.
        mask: Regular expressions of further secrets to mask in log lines: their groups, or the
            whole match if there is no group. Passwords, tokens and keys are masked without it.
        command_key: Accept only commands that a server with the same key has signed; by default
            PULSEBOARD_COMMAND_KEY.
        metrics_every_s: Interval at which metrics are sent, 0.05 to 3,600 seconds.

    Raises:
        ConfigError: An option is invalid. Later calls do not raise; they log a mistake once, in
            the logger `pulseboard.service`.
        InvalidName: The name of the service or instance is invalid.
    """

    def __init__(  # noqa: PLR0913 - public keyword arguments
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
        options = make_options(
            heartbeat_s,
            redis_url,
            namespace,
            channel_prefix,
            command_key,
            stop_on_sigterm=stop_on_sigterm,
        )
        self.heartbeat_s = options.heartbeat_s
        metrics_every_s = check_seconds("metrics_every_s", metrics_every_s, *METRICS_EVERY_S)
        if instance is not None:
            instance = check_instance_name(instance)
        pending = Pending.create(name, mask, metrics_every_s)
        self._warn = pending.warnings.warn_once
        self._fields = FieldReader(pending.warnings)
        self._lifecycle = Lifecycle(name, instance, options, pending)

    @property
    def instance(self) -> str:
        """The name of this instance; in a forked child that of the child, unless it was given."""
        return self._lifecycle.instance

    def start(self) -> Self:
        """Appear on the board and begin to send heartbeats, unless the service runs already.

        If an event loop runs here, it is watched from now on, as by `watch_loop`.
        """
        with self._pending.errors:
            with contextlib.suppress(RuntimeError):  # no event loop runs in this thread
                self._pending.loops.add(asyncio.get_running_loop())
            self._lifecycle.start()
        return self

    def stop(self, *, back_in_s: float | None = None) -> None:
        """Send everything that waits and stop gracefully, within 2 s. `start` begins again.

        `back_in_s` announces a planned return: the board counts down, and reports a loss only if
        neither this instance nor a new one of the service has come by then. The first stop decides:
        a later one changes nothing.
        """
        with self._pending.errors:
            absence = self._check_absence(back_in_s)
            if absence is not None and self._lifecycle.sender() is None:
                self._warn(
                    "late-absence",
                    "back_in_s was ignored, because the service had stopped already;"
                    " pass it to the first stop()",
                )
            self._lifecycle.stop(absence)

    def update(self, /, **fields: Any) -> None:
        """Merge `fields` into the status and publish the whole status.

        The values are read at once, so the caller may change them afterwards. Before `start` the
        status is kept and not published.
        """
        lifecycle = self._lifecycle
        # The same as `with errors:`, but faster, in the call that is made most often.
        try:
            lifecycle.pending.outbox.merge(self._fields.read(fields))
            lifecycle.publish()
        except Exception as error:
            if not lifecycle.pending.errors.swallow(error):
                raise

    def replace(self, status: dict[str, Any]) -> None:
        """Make `status` the whole status and publish it. It is read at once, as by `update`."""
        with self._pending.errors:
            try:
                fields = self._fields.read(dict(status))
            # An argument that is not a dict may raise any exception here.
            except Exception as error:
                if is_from_signal_handler(error):
                    raise
                self._warn(
                    "status",
                    f"a status was not published, because it must be a dict: {text_of(error)}",
                )
                return
            self._pending.outbox.replace(fields)
            self._lifecycle.publish()

    def log(self, level: str | int, message: str, /, **fields: Any) -> None:
        """Send a log line to the board, and nowhere else.

        `level` is debug, info, warning, error or critical, or a number of `logging`. In an `except`
        block, `exc_info=True` adds the traceback. The fields are read at once.
        """
        with self._pending.errors:
            traceback = format_exc() if fields.pop("exc_info", False) and sys.exc_info()[0] else ""
            try:
                level = name_level(level) if isinstance(level, int) else parse_level(level)
            except (InvalidEvent, AttributeError) as error:
                self._warn("level", f"{error}; the line is shown with level info")
                level = "info"
            self._write_line(level, text_of(message), "", fields, traceback)

    def log_handler(self, level: int | str = logging.NOTSET) -> logging.Handler:
        """Return a `logging` handler that sends log records to the board.

        Add it with `logging.getLogger().addHandler(...)`. It ignores Pulseboard's own loggers.
        """
        return ServiceLogHandler(self._write_line, self._pending.errors, level)

    def command(self, name: str, description: str | None = None) -> Callable[[H], H]:
        """Register a function as the handler of a command: `@service.command("trigger")`.

        Arguments are passed by name and checked against the annotations by msgspec; the result is
        sent as JSON. A handler that is `async def` runs in the event loop in which the service was
        started, any other handler in a thread. The description defaults to the first line of the
        docstring. Raises ConfigError if the name is invalid or the arguments cannot be described as
        JSON.
        """

        def register(handler: H) -> H:
            self._pending.commands.add(name, handler, description)
            self._publish_commands()
            return handler

        return register

    def enable_commands(self, *names: str) -> Self:
        """Enable built-in commands: ping, log-level, pause and resume (see `paused`), restart.

        Raises ConfigError for an unknown name.
        """
        self._register_builtin(names)
        self._publish_commands()
        return self

    @property
    def paused(self) -> bool:
        """Whether the command `pause` has paused this service.

        Your code decides what a pause means.
        """
        return bool(self._pending.pause_flag)

    def wait_while_paused(self, timeout_s: float | None = None) -> bool:
        """Wait while the service is paused; return False if `timeout_s` ends before the pause."""
        return self._pending.pause_flag.wait_resumed(timeout_s)

    def counter(self, name: str) -> Counter:
        """Return a counter, a total that only grows: `service.counter("synced").add()`.

        The same name returns the same instrument. If the name is invalid, used by another kind, or
        beyond the limit of 500, this is logged once, and the instrument works but is not sent.
        """
        return self._get_instrument(Counter, name)

    def gauge(self, name: str) -> Gauge:
        """Return a gauge, a value that goes up and down: `service.gauge("queue").set(7)`.

        Names work as in `counter`.
        """
        return self._get_instrument(Gauge, name)

    def histogram(self, name: str) -> Histogram:
        """Return a histogram, values and their sum: `service.histogram("rows").record(120)`.

        Names work as in `counter`.
        """
        return self._get_instrument(Histogram, name)

    def timer(self, name: str) -> Timer:
        """Return a timer, a histogram of seconds: `with service.timer("sync"): ...`.

        It also decorates functions, async or not. Names work as in `counter`.
        """
        return self._get_instrument(Timer, name)

    def watch_loop(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Watch another event loop (by default the running one), until it is closed.

        A loop that has not answered for a second is stuck; each heartbeat reports for how long. The
        loop in which the service was started is watched without this call.
        """
        with self._pending.errors:
            try:
                self._pending.loops.add(asyncio.get_running_loop() if loop is None else loop)
            except (RuntimeError, TypeError) as error:
                self._warn(
                    "loop",
                    f"watch_loop() watches nothing, call it in a running event loop: {error}",
                )

    def stats(self) -> ServiceStats:
        """Return the counts of the events of this process, and the state of its link to Redis."""
        pending = self._pending
        return pending.link.to_stats(
            pending.outbox.counts(), pending.logs.counts(), pending.errors.count
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *exc: object) -> None:
        # stop() waits for Redis, which must not block the event loop.
        await asyncio.to_thread(self.stop)

    @property
    def _pending(self) -> Pending:
        """The buffers and registries of this process: a fork replaces them."""
        return self._lifecycle.pending

    def _register_builtin(self, names: tuple[str, ...]) -> None:
        register_builtin_commands(
            self._pending.commands,
            names,
            lambda: self._pending.pause_flag,
            lambda back_in_s: self.stop(back_in_s=back_in_s),
        )

    def _publish_commands(self) -> None:
        """Publish the names of the commands; a service that has any also has `ping`."""
        with self._pending.errors:
            commands = self._pending.commands
            if commands and commands.find("ping") is None:
                self._register_builtin(("ping",))
            self._lifecycle.publish()

    def _write_line(
        self, level: str, message: str, logger: str, fields: dict[str, Any], traceback: str
    ) -> None:
        json = encode(self._fields.read(fields)) if fields else b""
        lifecycle = self._lifecycle
        lifecycle.pending.logs.write(level, message, logger, json, traceback)
        if (sender := lifecycle.sender()) is not None:
            sender.wake_for_lines()

    def _get_instrument(self, kind: type[AnyInstrument], name: Any) -> AnyInstrument:
        with self._pending.errors:
            metrics = self._pending.metrics
            is_first = not metrics
            instrument = metrics.get(kind, name)
            if is_first and (sender := self._lifecycle.sender()) is not None:
                sender.wake()
            return instrument
        return kind("", self._warn)  # a bug was swallowed above

    def _check_absence(self, back_in_s: Any) -> float | None:
        if back_in_s is None:
            return None
        if is_number(back_in_s) and 0 < back_in_s <= MAX_BACK_IN_S:
            return float(back_in_s)
        self._warn(
            "absence",
            f"stop(): back_in_s must be more than 0 and at most {MAX_BACK_IN_S:.0f} seconds, not"
            f" {text_of(back_in_s)[:80]}; the service stopped without announcing a return",
        )
        return None
