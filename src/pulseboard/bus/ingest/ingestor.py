"""The ingestor: each external message becomes one feed entry, with any number of servers.

A program may publish the same bytes twice on purpose, so each server counts the copies that it
receives. It starts a new count at each marker on a channel of its own: every server publishes a
marker when its subscription opens, and all servers receive it between the same two messages. The
time between two markers is an epoch. Invariant: a server that counts in an epoch has received all
of it, so the n-th copy is the same message for every server.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import BusClient, open_async_client
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error, is_refusal
from pulseboard.bus.ingest.coverage import CoverageGap, CoverageSpan, SubscriptionCoverage
from pulseboard.bus.ingest.messages import (
    COUNT_ONLY,
    IngestItem,
    UnroutedCommand,
    parse_external,
    prepare_command,
)
from pulseboard.bus.ingest.refused_commands import RefusalRecorder
from pulseboard.bus.ingest.subscription import Subscription, SubscriptionObserver
from pulseboard.bus.keys import BATCH_TTL_MS, INGEST_TTL_MS
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled, run_for_ever
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.command import Command, ExternalCommand
from pulseboard.wire.kinds import LOG
from pulseboard.wire.names import DEFAULT_PREFIX

QUEUE_MAX = 1_024
BATCH_MAX = 128

_FROM_FEED = re.compile(rb'"id":"\d{1,19}-\d{1,19}"}\Z')
_LINE_FROM_FEED = re.compile(rb'"id":"\d{1,19}-\d{1,19}\.\d{1,4}"}\Z')
"""The end of a message that a script published.

Nearly all messages end so, and they are skipped without parsing. Some ids with more digits are no
feed ids, and their messages are external.
"""
_STAMP_MAX_BYTES = 64
_MARKER = re.compile(rb"[0-9a-f]{16}")

log = logging.getLogger("pulseboard.ingest")

RouteCommand = Callable[[ExternalCommand], Awaitable[Command]]
"""Returns the command with its target instances, or with the reason why it is refused."""


class _Received(NamedTuple):
    """An external message and the epoch in which it was received."""

    epoch: str
    event: IngestItem | UnroutedCommand


class _Proof(NamedTuple):
    """A proved span of coverage; it stands in the queue behind all messages that it covers."""

    span: CoverageSpan


class Ingestor(SubscriptionObserver):
    """Subscribes to `service:*` and puts external messages into the feed.

    `run` it while the server lives.
    """

    def __init__(
        self,
        bus: BusClient,
        rejections: Rejections,
        *,
        route_command: RouteCommand,
        prefix: str = DEFAULT_PREFIX,
        max_event_bytes: int = MAX_EVENT_BYTES,
        on_gap: Callable[[CoverageGap | None], None] = lambda _: None,
    ) -> None:
        self._keys = bus.keys
        self._prefix = prefix
        self._max_event_bytes = max_event_bytes
        self._rejections = rejections
        self._route_command = route_command
        self._refusals = RefusalRecorder()
        self._server_id = uuid.uuid4().hex[:16]
        self._epoch = ""
        self._batch_number = 0
        self._queue: asyncio.Queue[_Received | _Proof] = asyncio.Queue(QUEUE_MAX)
        self._coverage = SubscriptionCoverage(bus.redis, bus.keys, on_gap)
        self._script = bus.redis.register_script(read_script("ingest"))
        # A glob special in the prefix is a character of the name, not a pattern.
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*"
        self._pubsub_client = open_async_client(bus.address, None)
        self._subscription = Subscription(
            self._pubsub_client,
            patterns=(pattern,),
            prepare=self._read_time,
            observer=self,
            markers=bus.keys.epochs,
        )

    @property
    def subscribed(self) -> asyncio.Event:
        """Set while external messages are received."""
        return self._subscription.subscribed

    @property
    def losses(self) -> int:
        """How often the subscription was lost.

        Messages that no other server received may be missing then.
        """
        return self._subscription.losses

    @property
    def gap(self) -> CoverageGap | None:
        """The latest period, possibly continuing, with external messages possibly missed."""
        return self._coverage.gap

    @property
    def is_coverage_compared(self) -> bool:
        """Whether `gap` accounts for the coverage of other servers."""
        return self._coverage.is_compared

    async def run(self) -> None:
        """Receive and ingest messages until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(run_for_ever(self._receive()), name="pulseboard-ingest-receive")
                tasks.create_task(run_for_ever(self._ingest()), name="pulseboard-ingest-append")
        finally:
            await self._pubsub_client.aclose()

    async def _read_time(self) -> None:
        await self._coverage.read_time()

    def opened(self, asked_at: float) -> None:
        self._coverage.open(asked_at)

    def proved(self, at: float) -> None:
        span = self._coverage.prove(at)
        if span is not None and not self._queue.full():  # Otherwise the next proof suffices.
            self._queue.put_nowait(_Proof(span))

    def lost(self) -> None:
        self._coverage.lose()

    async def _receive(self) -> None:
        """Put the external messages of the subscription into the queue."""
        log_channel = f"{self._prefix}{LOG.channel}"
        async with aclosing(self._subscription.messages()) as messages:
            async for channel, payload in messages:
                if channel == self._keys.epochs:
                    if _MARKER.fullmatch(payload):
                        self._epoch = payload.decode()
                    continue
                from_feed = _LINE_FROM_FEED if channel == log_channel else _FROM_FEED
                if from_feed.search(payload, max(0, len(payload) - _STAMP_MAX_BYTES)):
                    continue
                try:
                    event = parse_external(
                        channel,
                        payload,
                        self._keys,
                        prefix=self._prefix,
                        max_bytes=self._max_event_bytes,
                    )
                except InvalidEvent as error:
                    self._rejections.add(error, channel)
                    continue
                if event is not None:
                    await self._queue.put(_Received(self._epoch, event))

    async def _ingest(self) -> None:
        """Append queued messages to the feed in batches, and record the proved coverage."""
        while True:
            check_cancelled()
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            if received := [item for item in batch if isinstance(item, _Received)]:
                await self._append(received)
            spans = {
                item.span.subscription: item.span for item in batch if isinstance(item, _Proof)
            }
            for span in spans.values():
                await self._coverage.write(span)

    async def _prepare(self, event: IngestItem | UnroutedCommand) -> IngestItem:
        if isinstance(event, IngestItem):
            return event
        command = await self._route_command(event.command)
        if not command.refused:
            return prepare_command(command, event.digest, self._keys)
        self._rejections.add(
            InvalidEvent("command-refused", command.refused), f"a command to {command.service}"
        )
        if (recorded := self._refusals.record(command)) is not None:
            return prepare_command(recorded, event.digest, self._keys)
        # Servers may leave different refusals unrecorded, but their counts of copies must not
        # differ.
        return prepare_command(command, event.digest, self._keys)._replace(kind=COUNT_ONLY)

    async def _append(self, batch: list[_Received]) -> None:
        """Run ingest.lua for a batch; repeat it until Redis has taken or refused it."""
        self._batch_number += 1
        keys = [
            *self._keys.shared,
            self._keys.ingestor(self._server_id),
            self._keys.open_commands,
            self._keys.audit,
        ]
        args: list[str | bytes | int] = [
            DEFAULT_LIMITS,
            self._server_id,
            INGEST_TTL_MS,
            self._batch_number,
            BATCH_TTL_MS,
        ]
        for received in batch:
            item = await self._prepare(received.event)
            keys += [
                item.history,
                item.other_key,
                self._keys.ingested(received.epoch, item.digest),
            ]
            args += [item.kind, item.subject, item.json, item.extra]
        attempt = 0
        while True:
            check_cancelled()
            try:
                await self._script(keys=keys, args=args)
            except REDIS_ERRORS as error:
                if is_refusal(error):
                    log.error(
                        "Redis refused %d external messages, which are lost: %s",
                        len(batch),
                        describe_error(error),
                    )
                    return
                attempt += 1
                if attempt == 1:
                    log.error(
                        "cannot put %d external messages into the feed yet: %s",
                        len(batch),
                        describe_error(error),
                    )
                await asyncio.sleep(retry_delay_s(attempt))
            else:
                return
