"""A pub/sub subscription that reconnects when its connection fails or is silent."""

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

Redis sends the PONG after all messages that were published before the PING, so the PONG proves that
these messages have arrived.
"""
SILENCE_S = 5.0
"""Time without an answer or a message after which the subscription closes its connection."""

log = logging.getLogger("pulseboard.bus")


async def _prepare_nothing() -> None:
    """Do nothing: the default of `prepare`."""


class SubscriptionObserver:
    """The interface that a subscription calls at each change. This base class does nothing."""

    def opened(self, asked_at: float) -> None:
        """The subscription receives messages from now on.

        It may also receive messages that were published since the time `asked_at`
        (`time.monotonic()`), at which it was requested.
        """

    def proved(self, at: float) -> None:
        """All messages from the opening to `at` (`time.monotonic()`) have been yielded."""

    def lost(self) -> None:
        """The subscription receives no more messages, since an unknown time before this call."""


class Subscription:
    """A subscription to channels by their names and by patterns.

    It is open while the caller iterates over `messages`, and calls `prepare` before each attempt to
    subscribe. Pub/sub has no replay, so messages that are published while the connection is down
    are lost.

    `markers` is the name of a channel. If it is given, each connection publishes a random marker on
    it after it has subscribed, and yields the messages that follow this marker. It yields the
    markers of other subscribers too: all subscribers of one Redis node receive a marker between the
    same two messages.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        channels: Sequence[str] = (),
        patterns: Sequence[str] = (),
        prepare: Callable[[], Awaitable[None]] = _prepare_nothing,
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
        """How often the open subscription was lost.

        After each loss, the messages that were published before it opened again are missing.
        """

    async def messages(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield each message as (channel, payload).

        After a failure it reconnects, with `retry_delay_s` between two attempts, without end.
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
                # The attempt was successful if the subscription was open, even if no message came.
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
            # Wait at least 10 ms, so that data that has arrived is read before this method decides
            # that the connection is silent.
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
            # Set after the yield: while the caller handles a message, this method reads no data, so
            # that time is not a silence of Redis.
            received_at = time.monotonic()

    async def _confirm(self, marker: bytes, asked_at: float) -> None:
        if self._markers is None:
            self._open(asked_at)
        else:
            await self._client.publish(self._markers, marker)

    def _is_open_for(self, channel: str, payload: bytes, marker: bytes, asked_at: float) -> bool:
        """Return whether to yield a message; open the subscription if it is the own marker."""
        if channel == self._markers and payload == marker:
            self._open(asked_at)
        return self._markers is None or self.subscribed.is_set()

    def _open(self, asked_at: float) -> None:
        self.subscribed.set()
        self._observer.opened(asked_at)
