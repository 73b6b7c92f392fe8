"""Runs the handlers of accepted commands and reports their receipts.

Each handler runs in a thread of its own; no thread keeps the process alive. Every command that was
begun gets exactly one final receipt.
"""

import asyncio
import inspect
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from traceback import format_exc
from typing import Any, NamedTuple, TypedDict, Unpack

from pulseboard.sdk.command_registry import RegisteredCommand
from pulseboard.sdk.options import Identity
from pulseboard.sdk.pending import Pending
from pulseboard.sdk.status_encoding import encode_omission, encode_value, text_of
from pulseboard.wire.codec import Json
from pulseboard.wire.events.command import Command
from pulseboard.wire.events.receipt import Receipt, Step

MAX_RUNNING = 8
"""Commands that run at the same time; a further one is refused."""
ABANDON_AFTER_S = 0.3
"""How long running commands may take to finish once the service stops."""
LOOP_CHECK_S = 1.0
"""How often a waiting thread checks that the event loop of its handler is still open."""
RESULT_MAX, TEXT_MAX = 8_192, 2_000


class ResultWithAction(NamedTuple):
    """The result of a built-in handler, and an action to run after its receipt is on its way."""

    result: Any
    action: Callable[[], None]


class _Outcome(TypedDict, total=False):
    """The optional fields of a receipt."""

    reason: str
    error: str
    result: Json
    duration_ms: int


class CommandExecutor:
    """Runs the commands of one run of a service. `wake` wakes the sender for their receipts."""

    def __init__(self, identity: Identity, pending: Pending, wake: Callable[[], None]) -> None:
        self._identity = identity
        self._pending = pending
        self._wake = wake
        self._running: dict[str, Command] = {}
        self._finished: queue.SimpleQueue[None] = queue.SimpleQueue()

    def begin(self, command: Command, registered: RegisteredCommand, args: dict[str, Any]) -> None:
        """Accept a command and run it in a new thread; refuse it if too many run already."""
        if len(self._running) >= MAX_RUNNING:
            reason = f"busy: {MAX_RUNNING} commands are running; send it again later"
            self.report(command, "refused", reason=reason)
            return
        self.report(command, "accepted")
        self._running[command.command_id] = command
        name = f"pulseboard-command-{self._identity.service}-{command.command}"
        try:
            threading.Thread(
                target=self._execute, args=(command, registered, args), name=name, daemon=True
            ).start()
        except RuntimeError as error:  # the process cannot start another thread
            self._finish(command, "failed", error=str(error))

    def report(self, command: Command, step: Step, **outcome: Unpack[_Outcome]) -> None:
        """Queue the receipt of one step of a command."""
        service, instance = self._identity.service, self._identity.instance
        self._send_receipt(
            Receipt(service, instance, command.command_id, command.command, step, **outcome)
        )

    def abandon(self) -> None:
        """Wait a moment for running commands, then report those that still run as failed."""
        deadline = time.monotonic() + ABANDON_AFTER_S
        while self._running and (left := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                self._finished.get(timeout=left)
        for command in list(self._running.values()):
            error = "the service stopped while the command was running"
            self._finish(command, "failed", reason="stopped", error=error)

    def _execute(
        self, command: Command, registered: RegisteredCommand, args: dict[str, Any]
    ) -> None:
        began = time.monotonic()
        action: Callable[[], None] | None = None
        try:
            result = self._await(registered.handler(**args))
            if isinstance(result, ResultWithAction):
                result, action = result
            json = encode_value(result)
        # Every exception of a handler, SystemExit included, is the outcome of the command.
        except BaseException as error:  # noqa: BLE001
            with self._pending.errors:
                self._report_failure(command, error, format_exc(), began)
            return
        with self._pending.errors:
            if len(bytes(json)) > RESULT_MAX:
                json = encode_omission(len(bytes(json)))
            self._finish(command, "done", result=json, began=began)
            if action is not None:
                action()

    def _report_failure(
        self, command: Command, error: BaseException, traceback: str, began: float
    ) -> None:
        failure = f"{type(error).__name__}: {text_of(error)}"
        failure = self._pending.scrubber.mask_text(failure)[:TEXT_MAX]
        message = f"command {command.command} failed: {failure}"
        self._pending.logs.write("error", message, "pulseboard.command", b"", traceback)
        self._finish(command, "failed", error=failure, began=began)

    def _await(self, result: Any) -> Any:
        """Return the result of a handler; an awaitable runs in the event loop of the service."""
        if not inspect.isawaitable(result):
            return result
        awaitable = result

        async def wait() -> Any:
            return await awaitable

        loop = self._pending.loops.running()
        if loop is None:
            return asyncio.run(wait())
        future = asyncio.run_coroutine_threadsafe(wait(), loop)
        while True:
            try:
                return future.result(LOOP_CHECK_S)
            except TimeoutError:
                if future.done():  # the handler raised it
                    raise
                if loop.is_closed():
                    raise RuntimeError(
                        "the event loop was closed while the command was running"
                    ) from None

    def _finish(
        self,
        command: Command,
        step: Step,
        *,
        began: float | None = None,
        **outcome: Unpack[_Outcome],
    ) -> None:
        # The thread that removes the command reports it: `abandon` may have done so before.
        if self._running.pop(command.command_id, None) is None:
            return
        self._finished.put(None)
        if began is not None:
            outcome["duration_ms"] = round((time.monotonic() - began) * 1000)
        self.report(command, step, **outcome)

    def _send_receipt(self, receipt: Receipt) -> None:
        self._pending.receipts.put(receipt)
        self._wake()
