"""The adopter: a plain PUBLISH, from any language, becomes one feed entry however many servers hear it.

The same bytes may be published twice on purpose, so servers count how often they heard them. They count anew from each
word on a channel of their own, which each says when it begins to listen and which all hear at the same place: an epoch.
Invariant: who counts in an epoch has heard all of it, so the n-th of the same messages is the n-th for everyone.
"""

import asyncio
import logging
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import BusClient, open_async_client
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error, is_refusal
from pulseboard.bus.ingest.coverage import CoverageGap, Span, SubscriptionCoverage
from pulseboard.bus.ingest.messages import IngestItem, Wanted, ingest_command, parse_external
from pulseboard.bus.ingest.subscription import Subscription, Watcher
from pulseboard.bus.keys import BATCH_TTL_MS, INGEST_TTL_MS
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled, run_for_ever
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.command import Command, ExternalCommand
from pulseboard.wire.names import DEFAULT_PREFIX

QUEUE_MAX = 1_024
BATCH_MAX = 128
REFUSALS_MOST, REFUSALS_IN_S, REFUSED_ARGS_BYTES = 10, 60.0, 1_000
"""So many plain commands that are refused are written down in such a time, each with arguments of up to so many bytes."""

_FROM_FEED = re.compile(rb'"id":"\d{1,19}-\d{1,19}"}\Z')
_LINE_FROM_FEED = re.compile(rb'"id":"\d{1,19}-\d{1,19}\.\d{1,4}"}\Z')
"""How the scripts end each message: these, nearly all there are, need not be parsed to be passed over. Of what has more digits
some is no feed id, and so a plain publish."""

_EPOCH = re.compile(rb"[0-9a-f]{16}")

log = logging.getLogger("pulseboard.ingest")


MakeCommand = Callable[[ExternalCommand], Awaitable[Command]]


class _Plain(NamedTuple):
    epoch: str
    event: IngestItem | Wanted


class _Proof(NamedTuple):
    """Stands in the queue behind all that was heard before it."""

    span: Span


class Ingestor(Watcher):
    """Hears `service:*` and puts what has no id into the feed. `run` it for as long as the server lives.

    `make_command` finds out to whom a plain command goes, or why to nobody; without it plain commands are not looked at.
    """

    def __init__(
        self,
        bus: BusClient,
        rejections: Rejections,
        *,
        make_command: MakeCommand | None = None,
        prefix: str = DEFAULT_PREFIX,
        max_event_bytes: int = MAX_EVENT_BYTES,
        on_deaf: Callable[[CoverageGap | None], None] = lambda _: None,
    ) -> None:
        self._keys = bus.keys
        self._prefix = prefix
        self._max_event_bytes = max_event_bytes
        self._rejections = rejections
        self._make_command = make_command
        self._server = uuid.uuid4().hex[:16]
        self._epoch = ""
        self._batch = 0
        self._written_down: deque[float] = deque(maxlen=REFUSALS_MOST)
        self._not_written_down = 0
        self._queue: asyncio.Queue[_Plain | _Proof] = asyncio.Queue(QUEUE_MAX)
        self._client = bus.redis
        self._ears = SubscriptionCoverage(bus.redis, bus.keys, on_deaf)
        self._adopt = self._client.register_script(read_script("ingest"))
        # A glob special in the prefix is a character of the name, not a pattern.
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*"
        self._listener = open_async_client(bus.address, None)
        self._subscription = Subscription(
            self._listener,
            patterns=(pattern,),
            prepare=self._note_time,
            watcher=self,
            marks=bus.keys.epochs,
        )

    @property
    def listening(self) -> asyncio.Event:
        """Set while plain publishes are heard."""
        return self._subscription.subscribed

    @property
    def losses(self) -> int:
        """How often it stopped hearing, and so may have missed plain publishes that no other server heard."""
        return self._subscription.losses

    @property
    def gap(self) -> CoverageGap | None:
        """The latest span, or the one that goes on, in which plain publishes may have been missed."""
        return self._ears.gap

    async def run(self) -> None:
        """Hear and adopt until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(run_for_ever(self._hear()), name="pulseboard-ingest-hear")
                tasks.create_task(run_for_ever(self._adopt_all()), name="pulseboard-ingest-adopt")
        finally:
            await self._listener.aclose()

    async def _note_time(self) -> None:
        await self._ears.read_time()

    def opened(self, asked_at: float) -> None:
        self._ears.open(asked_at)

    def proved(self, at: float) -> None:
        span = self._ears.prove(at)
        if span is not None and not self._queue.full():  # else the next will do
            self._queue.put_nowait(_Proof(span))

    def lost(self) -> None:
        self._ears.lose()

    async def _hear(self) -> None:
        lines = f"{self._prefix}logs"
        async with aclosing(self._subscription.messages()) as messages:
            async for channel, payload in messages:
                if channel == self._keys.epochs:
                    if _EPOCH.fullmatch(payload):
                        self._epoch = payload.decode()
                    continue
                from_feed = _LINE_FROM_FEED if channel == lines else _FROM_FEED
                if from_feed.search(payload, max(0, len(payload) - 64)):
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
                if event is not None and not (
                    isinstance(event, Wanted) and self._make_command is None
                ):
                    await self._queue.put(_Plain(self._epoch, event))

    async def _adopt_all(self) -> None:
        while True:
            check_cancelled()
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            if plains := [item for item in batch if isinstance(item, _Plain)]:
                await self._adopt_batch(plains)
            spans = {item.span.ear: item.span for item in batch if isinstance(item, _Proof)}
            for span in spans.values():
                await self._ears.write(span)

    async def _complete(self, event: IngestItem | Wanted) -> IngestItem:
        if isinstance(event, IngestItem):
            return event
        if self._make_command is None:
            raise RuntimeError("a plain command was taken that nobody can make one of")
        command = await self._make_command(event.command)
        if command.refused:
            self._rejections.add(
                InvalidEvent("command-refused", command.refused), f"a command to {command.service}"
            )
            if not self._may_write_down():
                # It is counted like any other, or the counts of servers that pass over different ones would differ.
                return ingest_command(command, event.digest, self._keys)._replace(kind="none")
            command = self._shorten(command)
        return ingest_command(command, event.digest, self._keys)

    def _may_write_down(self) -> bool:
        # Whoever may publish must not push out of the audit what others did.
        times, now = self._written_down, time.monotonic()
        if len(times) == times.maxlen and now - times[0] < REFUSALS_IN_S:
            self._not_written_down += 1
            return False
        times.append(now)
        return True

    def _shorten(self, command: Command) -> Command:
        """Return a refused command as it is written down: with few arguments, and how many before it were not."""
        reason, args = command.refused, command.args
        if len(bytes(args)) > REFUSED_ARGS_BYTES:
            reason, args = f"{reason} (args left out: {len(bytes(args))} bytes)", msgspec.Raw(b"{}")
        if self._not_written_down:
            reason = f"{reason} ({self._not_written_down} refused before it are not written down)"
            self._not_written_down = 0
        return msgspec.structs.replace(command, refused=reason, args=args)

    async def _adopt_batch(self, batch: list[_Plain]) -> None:
        self._batch += 1
        keys = [
            *self._keys.shared,
            self._keys.ingestor(self._server),
            self._keys.open_commands,
            self._keys.audit,
        ]
        args: list[str | bytes | int] = [
            DEFAULT_LIMITS,
            self._server,
            INGEST_TTL_MS,
            self._batch,
            BATCH_TTL_MS,
        ]
        for epoch, event in [(plain.epoch, await self._complete(plain.event)) for plain in batch]:
            keys += [event.history, event.other, self._keys.ingested(epoch, event.digest)]
            args += [event.kind, event.subject, event.json, event.more]
        attempt = 0
        while True:
            check_cancelled()
            try:
                await self._adopt(keys=keys, args=args)
            except REDIS_ERRORS as error:
                if is_refusal(error):
                    log.error(
                        "Redis refused %d plain publishes, they are lost: %s",
                        len(batch),
                        describe_error(error),
                    )
                    return
                attempt += 1
                if attempt == 1:
                    log.error(
                        "cannot put %d plain publishes into the feed yet: %s",
                        len(batch),
                        describe_error(error),
                    )
                await asyncio.sleep(retry_delay_s(attempt))
            else:
                return
