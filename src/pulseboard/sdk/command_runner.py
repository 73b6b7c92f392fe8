"""The commander: hears commands in one run of a service, has them done, and says what became of each.

A thread of its own listens, supervised, and each command that is being done has one; none of them keeps a process alive.
Invariant: a command is begun only by the run that claimed it in Redis, in time, and once.
"""

import asyncio
import inspect
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from traceback import format_exc
from typing import Any, NamedTuple, TypedDict, Unpack

import msgspec

from pulseboard.bus.commands.receiver import CommandReceiver, SignedCommand
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.keys import LISTENER_RENEWAL_S
from pulseboard.sdk.command_registry import CommandRegistry, RegisteredCommand
from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.loop_watch import LoopWatch
from pulseboard.sdk.scrubber import Scrubber
from pulseboard.sdk.status_encoding import encode_value, text_of
from pulseboard.wire.codec import Json
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.command import Command, is_signature_valid, parse_command_event
from pulseboard.wire.events.receipt import Receipt, Step

AT_ONCE = 8
"""So many commands are done at once; one more is refused."""
REMEMBERED = 10_000
"""The ids of so many commands, so that one that somebody puts there again is not obeyed twice."""
CLOCKS_APART_S = 300.0
"""A signed command must have been issued within this of our own clock: Redis' clock is for those to say who can write there."""
PATIENCE_S = 0.3
"""How long what is being done may take to finish once the service stops."""
LOOP_LOOK_S = 1.0
"""How often it is seen to whether the event loop that a handler waits in is still there."""
RESULT_MAX, TEXT_MAX = 8_192, 2_000

log = logging.getLogger("pulseboard.service")


class AndThen(NamedTuple):
    """What a handler of ours returns to do something once its receipt is on its way."""

    result: Any
    act: Callable[[], None]


class Signature(NamedTuple):
    """What commands must be signed with: the key, and the namespace that they are for."""

    key: str
    namespace: str


class _Said(TypedDict, total=False):
    """What a receipt may say beside its step."""

    reason: str
    error: str
    result: Json
    duration_ms: int


class CommandRunner:
    """Listens for one run, until it is dismissed. `tell` takes receipts on their way; `report` a failure and its traceback."""

    def __init__(
        self,
        service: str,
        instance: str,
        offers: CommandRegistry,
        make_orders: Callable[[str], CommandReceiver],
        signature: Signature | None,
        loops: LoopWatch,
        masks: Scrubber,
        guard: InternalErrors,
        tell: Callable[[Receipt], None],
        report: Callable[[str, str], None],
    ) -> None:
        self._service = service
        self._instance = instance
        self._offers = offers
        self._run = uuid.uuid4().hex
        self._orders = make_orders(self._run)
        self._signature = signature
        self._began_s = time.time()
        self._loops = loops
        self._masks = masks
        self._guard = guard
        self._tell = tell
        self._report = report
        self._told: list[str] = []
        self._told_at = float("-inf")
        self._waiting: deque[SignedCommand] = deque()
        self._known: deque[str] = deque(maxlen=REMEMBERED)
        self._running: dict[str, Command] = {}
        self._finished: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._dismissed = False
        self._thread = threading.Thread(
            target=self._listen, name=f"pulseboard-{service}-commands", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def dismiss(self) -> None:
        """Begin no more commands. Does not wait."""
        self._dismissed = True
        self._wakes.put(None)

    def abandon(self) -> None:
        """Say of what is still being done, after a moment, that it was abandoned."""
        deadline = time.monotonic() + PATIENCE_S
        while self._running and (left := deadline - time.monotonic()) > 0:
            with suppress(queue.Empty):
                self._finished.get(timeout=left)
        for command in list(self._running.values()):
            self._finish(
                command,
                "failed",
                reason="stopped",
                error="the service stopped while it was being done",
            )

    def _listen(self) -> None:
        attempt = 0
        try:
            while not self._dismissed:
                try:
                    self._orders.start()
                    self._told_at = float("-inf")
                    while not self._dismissed:
                        self._turn()
                        if attempt:
                            log.info("service %s hears commands again", self._service)
                        attempt = 0
                except BusUnavailable as error:
                    attempt += 1
                    # That Redis is away the courier says; this one may be refused what that one is allowed.
                    log.log(
                        logging.WARNING if attempt == 3 else logging.DEBUG,
                        "service %s does not hear commands: %s",
                        self._service,
                        error,
                    )
                    self._pause(retry_delay_s(attempt))
                except Exception as error:
                    # Nobody sees a thread die: the service would be deaf while it works on.
                    if not self._guard.swallow(error):
                        raise
                    attempt += 1
                    self._pause(retry_delay_s(attempt))
        finally:
            with self._guard:
                self._orders.close()

    def _pause(self, timeout_s: float) -> None:
        with suppress(queue.Empty):
            self._wakes.get(timeout=timeout_s)

    def _turn(self) -> None:
        names = self._offers.names
        if names != self._told or time.monotonic() - self._told_at >= LISTENER_RENEWAL_S:
            self._orders.renew_listener(
                self._offers.describe(self._run, self._orders.start_position)
            )
            self._told, self._told_at = names, time.monotonic()
        # Whatever has no answer yet is asked about again, should Redis have gone away in the middle.
        if not self._waiting:
            self._waiting.extend(self._orders.read())
        while self._waiting and not self._dismissed:
            self._take(self._waiting[0])
            self._waiting.popleft()

    def _take(self, order: SignedCommand) -> None:
        if order.service != self._service.encode():
            return
        try:
            command = parse_command_event(order.data)
        except InvalidEvent as error:
            log.warning(
                "service %s was sent what is no command: %s", self._service, ascii(str(error)[:200])
            )
            return
        if self._instance not in command.instances or command.service != self._service:
            return
        if (reason := self._distrust(command, order)) is not None:
            self._say(command, "refused", reason=reason)
            return
        if command.command_id in self._known:
            return
        claim = self._orders.claim(command)
        self._known.append(command.command_id)
        if claim == "expired":
            self._say(command, "expired", reason="its time was over when it came")
        elif claim == "claimed":
            self._begin(command)

    def _distrust(self, command: Command, order: SignedCommand) -> str | None:
        """Return why a command is not to be obeyed, be it offered or not."""
        if self._signature is None:
            return None
        key, namespace = self._signature
        if not order.signature:
            return "unsigned: this service obeys signed commands only"
        if not is_signature_valid(
            key, namespace, order.data, order.signature.decode("ascii", "replace")
        ):
            return "badly signed: it was signed with another key, or changed since"
        if command.command_id in self._known:
            return "replayed: it was here before"
        age_s = time.time() - command.issued / 1000
        if abs(age_s) > CLOCKS_APART_S:
            return f"not fresh: by this host's clock it was issued {age_s:.0f} s ago"
        if command.issued / 1000 < self._began_s:
            return "not fresh: it was issued before this run of the service began"
        return None

    def _begin(self, command: Command) -> None:
        offer = self._offers.find(command.command)
        if offer is None:
            self._say(
                command,
                "refused",
                reason=f"unknown-command: it offers {', '.join(self._offers.names)}",
            )
            return
        try:
            args = offer.read_args(bytes(command.args))
        except (ValueError, msgspec.MsgspecError) as error:
            self._say(command, "refused", reason=f"bad-arguments: {error}"[:TEXT_MAX])
            return
        if len(self._running) >= AT_ONCE:
            self._say(command, "refused", reason=f"busy: {AT_ONCE} commands are being done")
            return
        self._say(command, "accepted")
        self._running[command.command_id] = command
        name = f"pulseboard-{self._service}-{command.command}"
        try:
            threading.Thread(
                target=self._do, args=(command, offer, args), name=name, daemon=True
            ).start()
        except RuntimeError as error:  # no more threads
            self._finish(command, "failed", error=str(error))

    def _do(self, command: Command, offer: RegisteredCommand, args: dict[str, Any]) -> None:
        began = time.monotonic()
        then: Callable[[], None] | None = None
        try:
            result = self._await(offer.handler(**args))
            if isinstance(result, AndThen):
                result, then = result
            json = encode_value(result)
        # Whatever a handler raises, SystemExit included, is what became of the command.
        except BaseException as error:  # noqa: BLE001
            failure = self._masks.text(f"{type(error).__name__}: {text_of(error)}")[:TEXT_MAX]
            with self._guard:
                self._report(f"command {command.command} failed: {failure}", format_exc())
                self._finish(command, "failed", error=failure, began=began)
            return
        with self._guard:
            if len(bytes(json)) > RESULT_MAX:
                json = encode_value(f"(left out: {len(bytes(json))} bytes are too large)")
            self._finish(command, "done", result=json, began=began)
            if then is not None:
                then()

    def _await(self, result: Any) -> Any:
        if not inspect.isawaitable(result):
            return result
        awaitable = result

        async def wait() -> Any:
            return await awaitable

        loop = self._loops.running()
        if loop is None:
            return asyncio.run(wait())
        future = asyncio.run_coroutine_threadsafe(wait(), loop)
        while True:
            try:
                return future.result(LOOP_LOOK_S)
            except TimeoutError:
                if future.done():  # the handler raised it
                    raise
                if loop.is_closed():
                    raise RuntimeError(
                        "its event loop was closed while it was being done"
                    ) from None

    def _finish(
        self, command: Command, step: Step, *, began: float | None = None, **said: Unpack[_Said]
    ) -> None:
        # Whoever takes it out says so: a service that stops does not wait for long.
        if self._running.pop(command.command_id, None) is None:
            return
        self._finished.put(None)
        if began is not None:
            said["duration_ms"] = round((time.monotonic() - began) * 1000)
        self._say(command, step, **said)

    def _say(self, command: Command, step: Step, **said: Unpack[_Said]) -> None:
        self._tell(
            Receipt(
                self._service, self._instance, command.command_id, command.command, step, **said
            )
        )
