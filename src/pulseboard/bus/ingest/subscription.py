"""A pub/sub subscription that reconnects after an outage or a silent connection."""

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

PING_EVERY_S = 1.0
"""Time between two PINGs.

The PONG comes after all messages that were published before the PING, so it proves that they
arrived.
"""
SILENCE_S = 5.0
"""Time without an answer or a message after which the connection is given up."""

log = logging.getLogger("pulseboard.bus")


async def _nothing() -> None:
    """Nothing to prepare."""


class SubscriptionObserver:
    """Receives the changes of a subscription as they happen. This base class ignores them."""

    def opened(self, asked_at: float) -> None:
        """The subscription receives messages from here on.

        Messages published since it was requested, at `asked_at` (`time.monotonic()`), may still
        arrive.
        """

    def proved(self, at: float) -> None:
        """All messages from the opening up to `at` (`time.monotonic()`) have been yielded."""

    def lost(self) -> None:
        """The subscription receives no more messages; the time when that began is unknown."""


class Subscription:
    """The messages of exact channels or of patterns, for as long as it is read.

    Pub/sub has no replay: a message that is published while the connection is down is missed.
    `prepare` runs before each SUBSCRIBE. With `markers`, a channel, each connection publishes a
    random marker there once it is subscribed, and yields messages from that marker on. It also
    yields the markers of others: all subscribers of one node receive a marker between the same two
    messages.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        channels: Sequence[str] = (),
        patterns: Sequence[str] = (),
        prepare: Callable[[], Awaitable[None]] = _nothing,
        observer: SubscriptionObserver | None = None,
        markers: str | None = None,
    ) -> None:
        self._client = client
        self._channels = channels if markers is None else (*channels, markers)
        self._markers = markers
        self._patterns = patterns
        self._prepare = prepare
        self._observer = observer or SubscriptionObserver()
        self.subscribed = asyncio.Event()
        self.losses = 0
        """How often an open subscription was lost.

        Messages published until it reopened were missed.
        """

    async def messages(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield each message as (channel, payload).

        It reconnects for ever, with the delays of the original specification.
        """
        attempt = 0
        while True:
            check_cancelled()
            try:
                await self._prepare()
                async with (
                    self._client.pubsub() as pubsub,
                    aclosing(self._read(pubsub)) as session,
                ):
                    async for message in session:
                        yield message
            except REDIS_ERRORS as error:
                # An open subscription is a success, also without a message to show that the outage
                # is over.
                if self.subscribed.is_set():
                    attempt = 0
                    self.losses += 1
                    self._observer.lost()
                log.log(
                    logging.DEBUG if attempt else logging.ERROR,
                    "Redis subscription lost: %s",
                    describe_error(error),
                )
            self.subscribed.clear()
            attempt += 1
            await asyncio.sleep(retry_delay_s(attempt))

    async def _read(self, pubsub: PubSub) -> AsyncGenerator[tuple[str, bytes], None]:
        """Subscribe on one connection and yield its messages until it fails."""
        started_at = asked_at = received_at = time.monotonic()
        answered = True
        marker = uuid.uuid4().hex[:16].encode()
        if self._patterns:
            await pubsub.psubscribe(*self._patterns)
        if self._channels:
            await pubsub.subscribe(*self._channels)
        unconfirmed = len(self._patterns) + len(self._channels)
        while True:
            check_cancelled()
            await check_node(pubsub)
            if answered and time.monotonic() - asked_at >= PING_EVERY_S:
                asked_at, answered = time.monotonic(), False
                await pubsub.ping()
            silent_at = max(asked_at, received_at) + SILENCE_S
            # At least a moment, so that data that has arrived is read before the connection is
            # given up.
            wait_s = max(
                0.01, (asked_at + PING_EVERY_S if answered else silent_at) - time.monotonic()
            )
            message = await pubsub.get_message(timeout=wait_s)
            if message is None:
                never_opened = (
                    not self.subscribed.is_set() and time.monotonic() >= started_at + SILENCE_S
                )
                if never_opened or (not answered and time.monotonic() >= silent_at):
                    raise TimeoutError(f"Redis was silent for {SILENCE_S:.0f} s")
                continue
            if message["type"] == "pong":
                answered = True
                self._observer.proved(asked_at)
            elif message["type"] in ("subscribe", "psubscribe"):
                unconfirmed -= 1
                if not unconfirmed:
                    await self._confirm(marker, asked_at)
            elif message["type"] in ("message", "pmessage"):
                channel = message["channel"].decode("utf-8", "backslashreplace")
                if self._is_open_for(channel, message["data"], marker, asked_at):
                    yield channel, message["data"]
            # After the yield, because no data is read while the caller handles a message.
            received_at = time.monotonic()

    async def _confirm(self, marker: bytes, asked_at: float) -> None:
        if self._markers is None:
            self._open(asked_at)
        else:
            await self._client.publish(self._markers, marker)

    def _is_open_for(self, channel: str, payload: bytes, marker: bytes, asked_at: float) -> bool:
        """Return whether to yield a message; the own marker opens the subscription."""
        if channel == self._markers and payload == marker:
            self._open(asked_at)
        return self._markers is None or self.subscribed.is_set()

    def _open(self, asked_at: float) -> None:
        self.subscribed.set()
        self._observer.opened(asked_at)
