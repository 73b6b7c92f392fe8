"""The lifecycle of a service: its runs, one after the other, each with its own sender.

A run begins with a start and ends with a stop; a forked child begins a run of its own. Neither
waits for a lock that another thread holds for long, so both may be called in a signal handler.
"""

import itertools
import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable
from functools import partial

from pulseboard.bus.commands.receiver import CommandReceiver
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.publisher import Publisher
from pulseboard.sdk import process_hooks
from pulseboard.sdk.command_runner import CommandRunner
from pulseboard.sdk.command_verifier import CommandVerifier
from pulseboard.sdk.options import Identity, SenderOptions, ServiceOptions
from pulseboard.sdk.pending import Pending
from pulseboard.sdk.sender import BackgroundSender
from pulseboard.wire.errors import ConfigError

ANSWER_TIMEOUT_S = 2.0

log = logging.getLogger("pulseboard.service")


class Lifecycle:
    """Starts, stops and forks one service.

    Any thread and any signal handler may call its methods. `instance` is the name of the instance;
    None makes it `host:pid`, in a forked child as well.
    """

    def __init__(
        self, service: str, instance: str | None, options: ServiceOptions, pending: Pending
    ) -> None:
        self.service = service
        self.pending = pending
        self._options = options
        # Held while a sender is started: neither an update nor a stop waits for it. Reentrant, for
        # a signal handler that starts the service.
        self._starting = threading.RLock()
        self._is_starting = self._should_run = False
        self._runs = itertools.count(1)
        self._forked = False
        """Whether this is a forked child of a process in which the service ran."""
        # The latest sender, while its thread runs. Weak, since the sender keeps this object alive.
        self._get_sender: Callable[[], BackgroundSender | None] = _no_sender
        self._is_named = instance is not None
        self._number = process_hooks.register(self, service, named=self._is_named)
        self.instance = self._default_instance() if instance is None else instance

    def start(self) -> None:
        """Begin a run, unless one is going on."""
        self._should_run = True
        self.ensure_running()

    def begin_stop(self, back_in_s: float | None = None) -> BackgroundSender | None:
        """Begin to stop, and return the sender to wait for, also that of an earlier stop."""
        self._forked = self._should_run = False
        return self._dismiss_sender(back_in_s)

    def stop(self, back_in_s: float | None) -> None:
        """Stop, and wait until the last status is sent, for at most 2 s."""
        self.begin_stop(back_in_s)
        process_hooks.stop_services([self])

    def publish(self) -> None:
        """Publish the status, if the service runs; in a forked child, begin a run."""
        if self._forked and self.ensure_running():
            return
        # If the service is stopped between these steps, the status comes after the last one of the
        # run and is not sent.
        sender = self._get_sender()
        if sender is not None and not sender.dismissed:
            sender.publish_status()

    def sender(self) -> BackgroundSender | None:
        """Return the sender of the current run; None if the service does not run."""
        sender = self._get_sender()
        return sender if sender is not None and not sender.dismissed else None

    def ensure_running(self) -> bool:
        """Begin a run if the service should run and does not; return whether this call began it."""
        started = False
        with self._starting:
            # A signal handler may start or stop the service in the middle of this. It changes
            # `_should_run`, and leaves the rest to this loop, which checks again.
            while self._is_due() and not self._is_starting:
                self._is_starting = True
                try:
                    if self._is_due() and not self._start_sender():
                        break
                    started = True
                    # A stop came meanwhile. If a start came after it, the next iteration begins
                    # anew.
                    if not self._should_run:
                        self._dismiss_sender(None)
                finally:
                    self._is_starting = False
        return started

    def reset_after_fork(self) -> None:
        """Release everything that belongs to the parent. Called by `process_hooks` in the child."""
        # Only the forking thread lives on in the child: threads that are gone may hold locks, and
        # the connection belongs to the parent. The child becomes an instance of its own when it
        # publishes for the first time, not before: most children are about to exec another program.
        self._starting, self._is_starting = threading.RLock(), False
        self.pending = self.pending.for_forked_child()
        self._forked = self._forked or self.sender() is not None
        self._get_sender = _no_sender
        if not self._is_named:
            self.instance = self._default_instance()

    def _is_due(self) -> bool:
        return self._should_run and self.sender() is None

    def _start_sender(self) -> bool:
        self._forked = False
        try:
            address = RedisAddress.from_env(url=self._options.redis_url)
        except ConfigError as error:
            self._log_not_started(error)
            return False
        sender = self._make_sender(address)
        self._get_sender = weakref.ref(sender)
        try:
            sender.publish_status()
            sender.start()
        except BaseException as error:
            sender.dismissed = True
            if not isinstance(error, RuntimeError):
                raise
            # The process cannot start another thread, or the interpreter is shutting down.
            self._log_not_started(error)
            return False
        process_hooks.install_exit_hooks(sigterm=self._options.stop_on_sigterm)
        return True

    def _make_sender(self, address: RedisAddress) -> BackgroundSender:
        options = self._options
        identity = Identity(self.service, self.instance, next(self._runs))
        return BackgroundSender(
            identity,
            SenderOptions(options.heartbeat_s, str(address)),
            self.pending,
            Publisher(
                address, options.keys, prefix=options.channel_prefix, timeout_s=ANSWER_TIMEOUT_S
            ),
            partial(self._make_runner, identity, address),
            self._get_sender(),
        )

    def _make_runner(
        self, identity: Identity, address: RedisAddress, wake: Callable[[], None]
    ) -> CommandRunner:
        keys = self._options.keys
        return CommandRunner(
            identity,
            self.pending,
            lambda run_id: CommandReceiver(
                address, keys, identity.service, identity.instance, run_id
            ),
            CommandVerifier(self._options.command_key, keys.namespace),
            wake,
        )

    def _dismiss_sender(self, back_in_s: float | None) -> BackgroundSender | None:
        sender = self._get_sender()
        if sender is not None and not sender.dismissed:
            sender.dismiss(back_in_s)
        return sender

    def _log_not_started(self, error: Exception) -> None:
        log.error("service %s was not started and is not on the board: %s", self.service, error)

    def _default_instance(self) -> str:
        host = "".join(char for char in socket.gethostname() if char.isprintable() and char != "/")
        number = f"-{self._number}" if self._number > 1 else ""
        return f"{host[:100]}:{os.getpid()}{number}"


def _no_sender() -> None:
    return None
