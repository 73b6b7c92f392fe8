"""The command runner: receives commands for one run of a service and begins them.

A supervised thread of its own listens; `CommandExecutor` runs the handlers.

Invariant: a command is begun once, before its deadline, and only by the run that claimed it in
Redis.
"""

import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from pulseboard.bus.commands.receiver import CommandReceiver, SignedCommand
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.keys import LISTENER_RENEWAL_S
from pulseboard.sdk.command_executor import TEXT_MAX, CommandExecutor
from pulseboard.sdk.command_verifier import CommandVerifier
from pulseboard.sdk.options import Identity
from pulseboard.sdk.pending import Pending
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.command import Command, parse_command_event

WARN_AT_ATTEMPT = 3
"""The sender reports an outage at once; this thread warns only if it fails for longer."""

log = logging.getLogger("pulseboard.service")


class CommandRunner:
    """Listens for the commands of one run, until it is dismissed.

    `open_receiver` returns a receiver for the id of this run; `wake` wakes the sender.
    """

    def __init__(
        self,
        identity: Identity,
        pending: Pending,
        open_receiver: Callable[[str], CommandReceiver],
        verifier: CommandVerifier,
        wake: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._registry = pending.commands
        self._errors = pending.errors
        # Unique in Redis, unlike the number of the run: two processes may use one instance name.
        self._run_id = uuid.uuid4().hex
        self._receiver = open_receiver(self._run_id)
        self._verifier = verifier
        self._executor = CommandExecutor(identity, pending, wake)
        self._announced: list[str] = []
        self._announced_at = float("-inf")
        self._waiting: deque[SignedCommand] = deque()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._dismissed = False
        self._thread = threading.Thread(
            target=self._listen, name=f"pulseboard-commands-{identity.service}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def dismiss(self) -> None:
        """Begin no more commands. Does not wait."""
        self._dismissed = True
        self._wakes.put(None)

    def abandon(self) -> None:
        """Report the commands that still run as failed, after a moment."""
        self._executor.abandon()

    def _listen(self) -> None:
        attempts = 0
        try:
            while not self._dismissed:
                try:
                    self._receiver.start()
                    self._announced_at = float("-inf")
                    while not self._dismissed:
                        self._turn()
                        if attempts:
                            service = self._identity.service
                            log.info("service %s receives commands again", service)
                        attempts = 0
                except BusUnavailable as error:
                    attempts += 1
                    log.log(
                        logging.WARNING if attempts == WARN_AT_ATTEMPT else logging.DEBUG,
                        "service %s cannot receive commands, and tries again: %s",
                        self._identity.service,
                        error,
                    )
                    self._wait(retry_delay_s(attempts))
                except Exception as error:
                    # A thread that died would be invisible: the service would ignore all commands
                    # while it works on.
                    if not self._errors.swallow(error):
                        raise
                    attempts += 1
                    self._wait(retry_delay_s(attempts))
        finally:
            with self._errors:
                self._receiver.close()

    def _wait(self, timeout_s: float) -> None:
        with suppress(queue.Empty):
            self._wakes.get(timeout=timeout_s)

    def _turn(self) -> None:
        names = self._registry.names
        if names != self._announced or time.monotonic() - self._announced_at >= LISTENER_RENEWAL_S:
            self._receiver.renew_listener(
                self._registry.describe(self._run_id, self._receiver.start_position)
            )
            self._announced, self._announced_at = names, time.monotonic()
        # A command stays in `_waiting` until it is handled: if Redis goes away in the middle, it is
        # handled after the reconnection.
        if not self._waiting:
            self._waiting.extend(self._receiver.read())
        while self._waiting and not self._dismissed:
            self._handle(self._waiting[0])
            self._waiting.popleft()

    def _handle(self, signed: SignedCommand) -> None:
        """Claim a command and begin it, if it is for this instance; report a refusal."""
        if signed.service != self._identity.service.encode():
            return
        try:
            command = parse_command_event(signed.data)
        except InvalidEvent as error:
            log.warning(
                "service %s ignored an invalid command: %s",
                self._identity.service,
                ascii(str(error)[:200]),
            )
            return
        instance, service = self._identity.instance, self._identity.service
        if instance not in command.instances or command.service != service:
            return
        if (reason := self._verifier.find_objection(command, signed)) is not None:
            self._executor.report(command, "refused", reason=reason)
            return
        if self._verifier.is_known(command):
            return
        claim = self._receiver.claim(command)
        self._verifier.remember(command)
        if claim == "expired":
            reason = "its deadline had passed when it was received"
            self._executor.report(command, "expired", reason=reason)
        elif claim == "claimed":
            self._begin(command)

    def _begin(self, command: Command) -> None:
        registered = self._registry.find(command.command)
        if registered is None:
            reason = f"unknown-command: its commands are {', '.join(self._registry.names)}"
            self._executor.report(command, "refused", reason=reason)
            return
        try:
            args = registered.parse_args(bytes(command.args))
        except (ValueError, msgspec.MsgspecError) as error:
            reason = f"bad-arguments: {error}"[:TEXT_MAX]
            self._executor.report(command, "refused", reason=reason)
            return
        self._executor.begin(command, registered, args)
