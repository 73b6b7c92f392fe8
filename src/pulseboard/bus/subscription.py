"""A pub/sub subscription that comes back: after an outage, and after a link went silent without an error."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import redis.asyncio
from redis.asyncio.client import PubSub

from pulseboard.bus.client import FAILURES, check_cancelled, check_place, describe, retry_delay_s

SILENCE_S = 5.0
"""After this long without a message the link is asked for a PONG, and condemned after as long again."""

log = logging.getLogger("pulseboard.bus")


async def _nothing() -> None:
    """Nothing to prepare."""


class Subscription:
    """Messages of exact channels or of patterns, for as long as it is read.

    Pub/sub has no replay: what is published while the link is down is not seen. `prepare` runs before each SUBSCRIBE.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        channels: Sequence[str] = (),
        patterns: Sequence[str] = (),
        prepare: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._client = client
        self._channels = channels
        self._patterns = patterns
        self._prepare = prepare
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
                async with self._client.pubsub() as pubsub, aclosing(self._session(pubsub)) as session:
                    async for message in session:
                        yield message
            except FAILURES as error:
                self.losses += self.subscribed.is_set()
                if self.subscribed.is_set():  # where nothing is published, no message will tell that the outage is over
                    attempt = 0
                log.log(logging.DEBUG if attempt else logging.ERROR, "Redis subscription lost: %s", describe(error))
            self.subscribed.clear()
            attempt += 1
            await asyncio.sleep(retry_delay_s(attempt))

    async def _session(self, pubsub: PubSub) -> AsyncGenerator[tuple[str, bytes], None]:
        if self._patterns:
            await pubsub.psubscribe(*self._patterns)
        if self._channels:
            await pubsub.subscribe(*self._channels)
        awaited = len(self._patterns) + len(self._channels)
        asked = False
        while True:
            check_cancelled()
            await check_place(pubsub)
            message = await pubsub.get_message(timeout=SILENCE_S)
            if message is None:
                if asked:
                    raise TimeoutError(f"Redis was silent for {2 * SILENCE_S:.0f} s")
                asked = True
                await pubsub.ping()
                continue
            asked = False
            if message["type"] in ("subscribe", "psubscribe"):
                awaited -= 1
                if not awaited:
                    self.subscribed.set()
            elif message["type"] in ("message", "pmessage"):
                yield message["channel"].decode("utf-8", "backslashreplace"), message["data"]
