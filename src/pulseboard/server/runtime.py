"""The core of a server process: one of each part, wired together and owned here."""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.commands.sender import CommandSender
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.feed.reader import FeedReader
from pulseboard.bus.feed.replay import FeedReplay
from pulseboard.bus.history.incidents import IncidentStore
from pulseboard.bus.history.latest_metrics import LatestMetrics
from pulseboard.bus.history.reader import HistoryReader
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.eviction import Evictor
from pulseboard.bus.retention.sync import LimitSync
from pulseboard.control.dispatch import Dispatcher
from pulseboard.control.expiry import ExpiryCheck
from pulseboard.hub.board import Board
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.server.hosting.signals import call_on_stop
from pulseboard.server.settings import Settings
from pulseboard.server.version import VERSION
from pulseboard.tasks import check_cancelled, run_for_ever
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.views import CoverageGapView

FORGET_EVERY_S = 5.0
DECLARE_EVERY_S = 0.5
SETTLE_EVERY_S = 1.0
LIMITS_EVERY_S = 2.0
BEGIN_S = 1.0
"""How long the first requests wait for the board. Redis may be away, and then they are told that."""

log = logging.getLogger("pulseboard.server")


def _ignore() -> None:
    """Nobody waits to hear of a failure."""


class Runtime:
    """Feed, adopter and hub, running while the context is entered. `on_failure` is called if one of them ends by itself.

    However it ends, its streams end first: on the signal that stops the process, on leaving, and on a failure.
    """

    def __init__(self, settings: Settings, on_failure: Callable[[], None] = _ignore) -> None:
        self.settings = settings
        self.rejections = Rejections()
        self.failed = False
        clock = RedisClock()
        options = HubOptions(
            settings.ping_s,
            settings.keepalive_s,
            settings.write_deadline_s,
            VERSION,
            insecure=not settings.loopback,
            stream_lifetime_s=settings.stream_lifetime_s,
        )
        board = Board(settings.expect, forget_s=settings.forget_s)
        self.hub = Hub(board, clock, self.rejections, options)
        self._bus = BusClient(settings.address, settings.keys)
        self._feed = FeedReader(
            settings.address,
            settings.keys,
            clock,
            self.rejections,
            max_event_bytes=settings.max_event_bytes,
        )
        self.replay = FeedReplay(
            self._bus, self.rejections, max_event_bytes=settings.max_event_bytes
        )
        self.incidents = IncidentStore(self._bus, self.rejections)
        self.history = HistoryReader(
            self._bus, self.rejections, max_event_bytes=settings.max_event_bytes
        )
        self.commands = CommandSender(
            self._bus,
            self.rejections,
            prefix=settings.channel_prefix,
            command_key=settings.command_key,
        )
        self.dispatch = Dispatcher(self.hub, self.commands)
        self.latest = LatestMetrics(
            self._bus, self.rejections, max_event_bytes=settings.max_event_bytes
        )
        self._adopter = Ingestor(
            self._bus,
            self.rejections,
            make_command=self.dispatch.make_external
            if settings.accepts_external_commands
            else self.dispatch.refuse_external,
            prefix=settings.channel_prefix,
            max_event_bytes=settings.max_event_bytes,
            on_deaf=lambda gap: self.hub.listen(None if gap is None else CoverageGapView(*gap)),
        )
        self._janitor = Evictor(self._bus)
        self._limits = LimitSync(self._bus, settings.limits)
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None
        self._beginning: asyncio.Future[bool] | None = None

    @property
    def closing(self) -> bool:
        """True once it ends."""
        return self.hub.closing

    @property
    def write_deadline_s(self) -> float:
        """Seconds after which a reader that takes nothing is let go."""
        return self.settings.write_deadline_s

    @property
    def coverage_gaps(self) -> int:
        """How often plain publishes were not heard for a while."""
        return self._adopter.losses

    @property
    def trouble(self) -> str | None:
        """Why the server is not ready to be relied upon, or None when it is."""
        if self.failed:
            return "the server failed inside; its log says how"
        if self.hub.closing:
            return "the server is stopping"
        if self.hub.blind is not None:
            return f"Redis cannot be reached: {self.hub.blind.reason}"
        if not self._adopter.listening.is_set():
            return "plain publishes are not heard yet"
        return None

    def start(self) -> None:
        """Start it in the running event loop."""
        # In a context of its own: the request that happens to start it has nothing to do with all that follows.
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name="pulseboard-core", context=contextvars.Context()
        )
        self._task.add_done_callback(self._note_end)
        self._beginning = asyncio.ensure_future(self.hub.begun(BEGIN_S))

    async def begun(self) -> None:
        """Wait until there is a board to show: an empty one would pass for the truth. Not for long, nor once it has failed."""
        if self._task is not None and self._beginning is not None:
            await asyncio.wait((self._beginning, self._task), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """End it. Closing twice is closing once."""
        if self._task is not None and self._beginning is not None:
            self._beginning.cancel()
            self._task.cancel()
            await asyncio.gather(self._beginning, self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self.start()
        await self.begun()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self) -> None:
        farewell = "the server is stopping"
        with call_on_stop(lambda: self.hub.close(farewell)):
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(run_for_ever(self.hub.run(self._feed)), name="pulseboard-hub")
                    tasks.create_task(run_for_ever(self._adopter.run()), name="pulseboard-ingest")
                    tasks.create_task(run_for_ever(self._forget()), name="pulseboard-forget")
                    tasks.create_task(run_for_ever(self._declare()), name="pulseboard-declare")
                    tasks.create_task(run_for_ever(self._settle()), name="pulseboard-settle")
                    tasks.create_task(run_for_ever(self._keep_limits()), name="pulseboard-limits")
            except Exception:
                farewell = "the server failed inside"
                raise
            finally:
                self.hub.close(farewell)
                await self._bus.close()

    async def _forget(self) -> None:
        while True:
            check_cancelled()
            await asyncio.sleep(FORGET_EVERY_S)
            if gone := self.hub.forgettable():
                try:
                    await self._janitor.evict(gone)
                except BusUnavailable as error:
                    log.warning(
                        "%d ended instances stay on the board for now: %s", len(gone), error
                    )

    async def _declare(self) -> None:
        failing = False
        while True:
            check_cancelled()
            await asyncio.sleep(DECLARE_EVERY_S)
            if losses := self.hub.losses():
                try:
                    await self.incidents.declare_lost(losses)
                    failing = False
                except BusUnavailable as error:
                    log.log(
                        logging.DEBUG if failing else logging.WARNING,
                        "the loss of %d instances could not be noted yet: %s",
                        len(losses),
                        error,
                    )
                    failing = True

    async def _settle(self) -> None:
        settler = ExpiryCheck(self.hub, self.commands)
        while True:
            check_cancelled()
            await asyncio.sleep(SETTLE_EVERY_S)
            if self.hub.blind is None:
                # The feed says when Redis is away; the commands stay open until then.
                with contextlib.suppress(BusUnavailable):
                    await settler.settle_some()

    async def _keep_limits(self) -> None:
        failing = False
        while True:
            check_cancelled()
            try:
                await self._limits.sync()
                failing = False
            except BusUnavailable as error:
                level = logging.DEBUG if failing else logging.WARNING
                log.log(level, "the limits of what is kept could not be set yet: %s", error)
                failing = True
            await asyncio.sleep(LIMITS_EVERY_S)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.failed = True
        log.critical("the server failed inside", exc_info=error)
        self._on_failure()
