"""A pub/sub subscription that comes back: after an outage, and after a link went silent without an error."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import redis.asyncio
from redis.asyncio.client import PubSub

from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import check_node
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error
from pulseboard.tasks import check_cancelled

PROVE_EVERY_S = 1.0
"""How often the link is asked for a PONG. It comes after all that was published before the PING, and so proves that it came."""
SILENCE_S = 5.0
"""After this long without an answer, or anything else, the link is condemned."""

log = logging.getLogger("pulseboard.bus")


async def _nothing() -> None:
    """Nothing to prepare."""


class Watcher:
    """Who is told how a subscription fares, as it happens. This one does not care."""

    def opened(self, asked_at: float) -> None:
        """It hears from here on; what was published since it was asked for (`time.monotonic()`) may be on its way."""

    def proved(self, at: float) -> None:
        """All that was published until then (`time.monotonic()`), since it opened, has been yielded."""

    def lost(self) -> None:
        """It hears no more, for how long already nobody knows."""


class Subscription:
    """Messages of exact channels or of patterns, for as long as it is read.

    Pub/sub has no replay: what is published while the link is down is not seen. `prepare` runs before each SUBSCRIBE.
    With `marks`, a channel, each link publishes a word of its own there once it stands, and hears from that word on. It
    yields those of others, too: all who listen to one node hear a word between the same two messages.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        channels: Sequence[str] = (),
        patterns: Sequence[str] = (),
        prepare: Callable[[], Awaitable[None]] = _nothing,
        watcher: Watcher | None = None,
        marks: str | None = None,
    ) -> None:
        self._client = client
        self._channels = channels if marks is None else (*channels, marks)
        self._marks = marks
        self._patterns = patterns
        self._prepare = prepare
        self._watcher = watcher or Watcher()
        self.subscribed = asyncio.Event()
        self.losses = 0
        """How often the link was lost while it heard: what was published until it was back, was not heard."""

    async def messages(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield each message as (channel, payload), reconnecting with the seed's delay for ever."""
        attempt = 0
        while True:
            check_cancelled()
            try:
                await self._prepare()
                async with (
                    self._client.pubsub() as pubsub,
                    aclosing(self._session(pubsub)) as session,
                ):
                    async for message in session:
                        yield message
            except REDIS_ERRORS as error:
                if (
                    self.subscribed.is_set()
                ):  # where nothing is published, no message will tell that the outage is over
                    attempt = 0
                    self.losses += 1
                    self._watcher.lost()
                log.log(
                    logging.DEBUG if attempt else logging.ERROR,
                    "Redis subscription lost: %s",
                    describe_error(error),
                )
            self.subscribed.clear()
            attempt += 1
            await asyncio.sleep(retry_delay_s(attempt))

    async def _session(self, pubsub: PubSub) -> AsyncGenerator[tuple[str, bytes], None]:
        started_at = asked_at = heard_at = time.monotonic()
        answered = True
        mark = uuid.uuid4().hex[:16].encode()
        if self._patterns:
            await pubsub.psubscribe(*self._patterns)
        if self._channels:
            await pubsub.subscribe(*self._channels)
        awaited = len(self._patterns) + len(self._channels)
        while True:
            check_cancelled()
            await check_node(pubsub)
            if answered and time.monotonic() - asked_at >= PROVE_EVERY_S:
                asked_at, answered = time.monotonic(), False
                await pubsub.ping()
            silent_at = max(asked_at, heard_at) + SILENCE_S
            # At least a moment: what has come already is taken before anybody is condemned.
            wait_s = max(
                0.01, (asked_at + PROVE_EVERY_S if answered else silent_at) - time.monotonic()
            )
            message = await pubsub.get_message(timeout=wait_s)
            if message is None:
                dumb = not self.subscribed.is_set() and time.monotonic() >= started_at + SILENCE_S
                if dumb or (not answered and time.monotonic() >= silent_at):
                    raise TimeoutError(f"Redis was silent for {SILENCE_S:.0f} s")
                continue
            if message["type"] == "pong":
                answered = True
                self._watcher.proved(asked_at)
            elif message["type"] in ("subscribe", "psubscribe"):
                awaited -= 1
                if not awaited:
                    await self._begin(mark, asked_at)
            elif message["type"] in ("message", "pmessage"):
                channel = message["channel"].decode("utf-8", "backslashreplace")
                if self._is_heard(channel, message["data"], mark, asked_at):
                    yield channel, message["data"]
            heard_at = (
                time.monotonic()
            )  # after the yield: whoever took its time with a message has not listened meanwhile

    async def _begin(self, mark: bytes, asked_at: float) -> None:
        if self._marks is None:
            self._open(asked_at)
        else:
            await self._client.publish(self._marks, mark)

    def _is_heard(self, channel: str, payload: bytes, mark: bytes, asked_at: float) -> bool:
        if channel == self._marks and payload == mark:
            self._open(asked_at)
        return self._marks is None or self.subscribed.is_set()

    def _open(self, asked_at: float) -> None:
        self.subscribed.set()
        self._watcher.opened(asked_at)
