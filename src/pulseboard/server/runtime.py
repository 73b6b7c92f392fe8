"""The runtime: all parts of a server process, wired together, and the tasks that run them.

Ownership: the runtime builds every part, and closes the shared Redis client when its tasks have
ended. The feed reader and the ingestor close their own blocking connections when their tasks end.
"""

import asyncio
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
from pulseboard.bus.ingest.coverage import CoverageGap
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.eviction import Evictor
from pulseboard.bus.retention.sync import LimitSync
from pulseboard.control.dispatch import Dispatcher
from pulseboard.control.expiry import ExpiryCheck
from pulseboard.hub.board import Board
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.server.health import ServerHealth
from pulseboard.server.hosting.signals import call_on_stop
from pulseboard.server.settings import Settings
from pulseboard.server.version import VERSION
from pulseboard.tasks import PeriodicTask, run_for_ever
from pulseboard.timeline.past_board import PastBoardReader
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.views import CoverageGapView

EVICT_INTERVAL_S = 5.0
DECLARE_INTERVAL_S = 0.5
EXPIRE_INTERVAL_S = 1.0
LIMITS_INTERVAL_S = 2.0
FIRST_BOARD_S = 1.0
"""How long the first requests wait for the board.

Redis may be unreachable, and then the answers say so.
"""

log = logging.getLogger("pulseboard.server")


def _ignore_failure() -> None:
    pass


class Runtime:
    """The parts of a server process, running while the context is entered.

    `on_failure` is called if one of them ends with an error. In each case the streams end first: at
    the signal that stops the process, when the context is left, and at a failure.
    """

    def __init__(
        self, settings: Settings, on_failure: Callable[[], None] = _ignore_failure
    ) -> None:
        self.settings = settings
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None
        self._first_board: asyncio.Future[bool] | None = None

        # Parts in memory.
        self.rejections = Rejections()
        clock = RedisClock()
        board = Board(settings.expect, forget_s=settings.forget_s)

        # Parts that read from Redis and write to it. All but the feed reader share one client.
        max_event_bytes = settings.max_event_bytes
        self._bus = BusClient(settings.address, settings.keys)
        self._feed = FeedReader(
            settings.address,
            settings.keys,
            clock,
            self.rejections,
            max_event_bytes=max_event_bytes,
        )
        replay = FeedReplay(self._bus, self.rejections, max_event_bytes=max_event_bytes)
        self.hub = Hub(board, clock, self.rejections, _hub_options(settings), replay=replay)
        self.history = HistoryReader(self._bus, self.rejections, max_event_bytes=max_event_bytes)
        self.latest_metrics = LatestMetrics(
            self._bus, self.rejections, max_event_bytes=max_event_bytes
        )
        self.incidents = IncidentStore(self._bus, self.rejections)
        self._commands = CommandSender(
            self._bus,
            self.rejections,
            prefix=settings.channel_prefix,
            command_key=settings.command_key,
        )
        self._evictor = Evictor(self._bus)
        self._limit_sync = LimitSync(self._bus, settings.limits)

        # Parts that decide.
        self.dispatcher = Dispatcher(self.hub, self._commands)
        self._expiry = ExpiryCheck(self.hub, self._commands)
        self.past_board = PastBoardReader(self.hub, self.history, self.incidents, self._commands)
        self._ingestor = Ingestor(
            self._bus,
            self.rejections,
            route_command=self.dispatcher.make_external
            if settings.accepts_external_commands
            else self.dispatcher.refuse_external,
            prefix=settings.channel_prefix,
            max_event_bytes=max_event_bytes,
            on_gap=self._report_coverage_gap,
        )
        self.health = ServerHealth(self.hub, self._ingestor, self.rejections)

    @property
    def failed(self) -> bool:
        """True after a part has ended with an error."""
        return self.health.failed

    def start(self) -> None:
        """Start all tasks in the running event loop."""
        # In an empty context, because the request that happens to start the runtime must not leave
        # its context variables in tasks that live longer.
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name="pulseboard-runtime", context=contextvars.Context()
        )
        self._task.add_done_callback(self._note_end)
        self._first_board = asyncio.ensure_future(self.hub.wait_for_board(FIRST_BOARD_S))

    async def wait_for_board(self) -> None:
        """Wait until the board was read from Redis, at most FIRST_BOARD_S after the start.

        Without this, the first client would see an empty board as if there were no services.
        """
        if self._task is not None and self._first_board is not None:
            await asyncio.wait((self._first_board, self._task), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Stop all tasks and close all connections; a second call does nothing."""
        if self._task is not None and self._first_board is not None:
            self._first_board.cancel()
            self._task.cancel()
            await asyncio.gather(self._first_board, self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self.start()
        await self.wait_for_board()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self) -> None:
        bye_reason = "the server is stopping"
        with call_on_stop(lambda: self.hub.close(bye_reason)):
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(run_for_ever(self.hub.run(self._feed)), name="pulseboard-hub")
                    tasks.create_task(run_for_ever(self._ingestor.run()), name="pulseboard-ingest")
                    for task in self._periodic_tasks():
                        tasks.create_task(run_for_ever(task.run()), name=task.name)
            except Exception:
                bye_reason = "the server failed internally"
                raise
            finally:
                self.hub.close(bye_reason)
                await self._bus.close()

    def _periodic_tasks(self) -> list[PeriodicTask]:
        return [
            PeriodicTask(
                name="pulseboard-evict",
                interval_s=EVICT_INTERVAL_S,
                run_once=self._evict_ended,
                expected_errors=(BusUnavailable,),
                log=log,
                failure="ended instances stay on the board for now",
            ),
            PeriodicTask(
                name="pulseboard-declare",
                interval_s=DECLARE_INTERVAL_S,
                run_once=self._declare_losses,
                expected_errors=(BusUnavailable,),
                log=log,
                failure="lost instances cannot be declared lost yet",
            ),
            PeriodicTask(
                name="pulseboard-expire",
                interval_s=EXPIRE_INTERVAL_S,
                run_once=self._expiry.check_page,
                expected_errors=(BusUnavailable,),
                log=log,
                failure="open commands cannot be checked yet",
                failure_level=logging.DEBUG,  # the feed reader already warns that Redis is away
            ),
            PeriodicTask(
                name="pulseboard-limits",
                interval_s=LIMITS_INTERVAL_S,
                run_once=self._limit_sync.sync,
                expected_errors=(BusUnavailable,),
                log=log,
                failure="the retention limits cannot be written to Redis yet",
                starts_at_once=True,
            ),
        ]

    async def _evict_ended(self) -> None:
        if ended := self.hub.evictable():
            await self._evictor.evict(ended)

    async def _declare_losses(self) -> None:
        if losses := self.hub.losses():
            await self.incidents.declare_lost(losses)

    def _report_coverage_gap(self, gap: CoverageGap | None) -> None:
        self.hub.report_gap(None if gap is None else CoverageGapView(*gap))

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.health.failed = True
        log.critical("the server failed internally", exc_info=error)
        self._on_failure()


def _hub_options(settings: Settings) -> HubOptions:
    return HubOptions(
        settings.ping_s,
        settings.keepalive_s,
        settings.write_deadline_s,
        VERSION,
        insecure=not settings.loopback,
        stream_lifetime_s=settings.stream_lifetime_s,
    )
