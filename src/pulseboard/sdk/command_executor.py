"""Runs the handlers of accepted commands and queues the receipts.

Each command runs in a new daemon thread, which does not keep the process alive. Every command gets
exactly one final receipt: `refused`, `done` or `failed`.
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
"""The maximum number of commands that run at the same time; the executor refuses a further one."""
ABANDON_AFTER_S = 0.3
"""When the service stops, commands that run have this time to finish."""
LOOP_CHECK_S = 1.0
"""Interval at which a thread that waits for a coroutine checks that the event loop is open."""
RESULT_MAX, TEXT_MAX = 8_192, 2_000
"""The maximum size of a result (bytes of JSON), and of an error or a reason (characters)."""


class ResultWithAction(NamedTuple):
    """The result of a built-in handler, and a function to call after its receipt is queued."""

    result: Any
    action: Callable[[], None]


class _Outcome(TypedDict, total=False):
    """The optional fields of a receipt."""

    reason: str
    error: str
    result: Json
    duration_ms: int


class CommandExecutor:
    """Runs commands between one start and stop of a service.

    It calls `wake` after it has queued a receipt, so that the sender sends it at once.
    """

    def __init__(self, identity: Identity, pending: Pending, wake: Callable[[], None]) -> None:
        self._identity = identity
        self._pending = pending
        self._wake = wake
        self._running: dict[str, Command] = {}
        self._finished: queue.SimpleQueue[None] = queue.SimpleQueue()

    def begin(self, command: Command, registered: RegisteredCommand, args: dict[str, Any]) -> None:
        """Accept a command and run it in a new thread; refuse it if 8 commands are running."""
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
        """Wait 0.3 s for the running commands to finish, then report the others as failed.

        The threads of these commands continue, but their results are ignored.
        """
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
        # Report every exception of a handler, even SystemExit, as the result of the command.
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
        """Return the result of a handler, after waiting for it if the handler is async.

        A coroutine runs in the first running event loop that the service watches; if none runs, in
        a new one.
        """
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
                if future.done():  # the handler itself raised TimeoutError
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
        # Only the thread that removes the command reports it. If `abandon` was first, do nothing.
        if self._running.pop(command.command_id, None) is None:
            return
        self._finished.put(None)
        if began is not None:
            outcome["duration_ms"] = round((time.monotonic() - began) * 1000)
        self.report(command, step, **outcome)

    def _send_receipt(self, receipt: Receipt) -> None:
        self._pending.receipts.put(receipt)
        self._wake()
