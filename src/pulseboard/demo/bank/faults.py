"""Injected faults: latency, 429, 5xx, and a rate limit per client.

A seeded generator decides, so the same sequence of requests gets the same faults. Invariant: the
table of clients is bounded; the least recently seen client is removed.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated

import msgspec
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from pulseboard.demo.bank.problems import BankProblem
from pulseboard.demo.bank.values import CLIENT_HEADER, HEALTH_PATH

_MAX_CLIENTS = 1024
_SERVER_ERRORS = (
    (500, "core-fault", "The core banking system failed"),
    (502, "core-unreachable", "The core banking system cannot be reached"),
    (503, "core-busy", "The core banking system is overloaded"),
)


class FaultSettings(msgspec.Struct, frozen=True):
    """Rates and delays of the faults; raises ValueError when a value is out of range.

    A rate is a share of the requests, from 0 to 1. A client may send the requests of one second of
    `client_limit` in one burst.
    """

    latency_ms: Annotated[int, msgspec.Meta(description="Minimum response time.")] = 15
    latency_spread_ms: Annotated[
        int, msgspec.Meta(description="Maximum random time on top of the minimum.")
    ] = 60
    throttle_rate: Annotated[
        float, msgspec.Meta(description="Share of requests answered with 429.")
    ] = 0.0
    error_rate: Annotated[
        float, msgspec.Meta(description="Share of requests answered with 5xx.")
    ] = 0.0
    retry_after_s: Annotated[int, msgspec.Meta(description="Retry-After of a 429.")] = 1
    client_limit: Annotated[
        float | None, msgspec.Meta(description="Requests per second and client.")
    ] = None

    def __post_init__(self) -> None:
        if self.latency_ms < 0 or self.latency_spread_ms < 0:
            raise ValueError("latency cannot be negative")
        if not (0 <= self.throttle_rate <= 1 and 0 <= self.error_rate <= 1):
            raise ValueError("throttle_rate and error_rate must be between 0 and 1")
        if self.throttle_rate + self.error_rate > 1:
            raise ValueError("the sum of throttle_rate and error_rate must be at most 1")
        if self.retry_after_s < 0:
            raise ValueError("retry_after_s cannot be negative")
        if self.client_limit is not None and not (
            math.isfinite(self.client_limit) and self.client_limit > 0
        ):
            raise ValueError("client_limit must be above 0 requests per second")


class FaultInjector(ASGIMiddleware):
    """A middleware for every path except `/health`; `settings` may be replaced at any time."""

    scopes = (ScopeType.HTTP,)

    def __init__(
        self, settings: FaultSettings, seed: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._random = random.Random(seed)
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Delay the request, then pass it on or raise BankProblem."""
        if scope["path"] != HEALTH_PATH:
            self._check_limit(_name_client(scope))
            settings = self.settings
            draw = self._random.random()
            await asyncio.sleep(
                (settings.latency_ms + self._random.random() * settings.latency_spread_ms) / 1000
            )
            if draw < settings.throttle_rate:
                raise BankProblem(
                    429, "throttled", "Too many requests", retry_after_s=settings.retry_after_s
                )
            if draw < settings.throttle_rate + settings.error_rate:
                raise BankProblem(*self._random.choice(_SERVER_ERRORS))
        await next_app(scope, receive, send)

    def _check_limit(self, client: str) -> None:
        """Remove one token from the client's bucket; raise BankProblem 429 when it is empty."""
        rate = self.settings.client_limit
        if rate is None:
            return
        now, burst = self._now(), max(1.0, rate)
        tokens, seen = self._buckets.pop(client, (burst, now))
        tokens = min(burst, tokens + (now - seen) * rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait_s = math.ceil((1 - tokens) / rate)
            raise BankProblem(
                429, "client-limit", "The client sends too many requests", retry_after_s=wait_s
            )


def _name_client(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == CLIENT_HEADER.encode():
            return value[:64].decode("latin-1")
    peer = scope.get("client")
    return peer[0] if peer else ""
