"""What goes wrong on purpose: latency, 429, 5xx, and a limit per client.

Drawn from a seeded generator, so the same sequence of requests meets the same weather. Invariant: the table of clients
is bounded; the one not seen for longest is forgotten.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from pulseboard.demo.bank.problems import BankProblem
from pulseboard.demo.bank.values import CLIENT_HEADER, HEALTH_PATH

_MAX_CLIENTS = 1024
_OUTAGES = (
    (500, "core-fault", "The core banking system failed"),
    (502, "core-unreachable", "The core banking system cannot be reached"),
    (503, "core-busy", "The core banking system is overloaded"),
)


class Forecast(msgspec.Struct, frozen=True):
    """How bad it gets; raises ValueError for rates that are none. Rates are shares of requests, from 0 to 1."""

    latency_ms: int = 15
    """The least time an answer takes."""
    latency_spread_ms: int = 60
    """How much longer it may take."""
    throttle_rate: float = 0.0
    error_rate: float = 0.0
    retry_after_s: int = 1
    client_limit: float | None = None
    """Requests per second and client; a second's worth may come at once."""

    def __post_init__(self) -> None:
        if self.latency_ms < 0 or self.latency_spread_ms < 0:
            raise ValueError("latency cannot be negative")
        if not (0 <= self.throttle_rate <= 1 and 0 <= self.error_rate <= 1):
            raise ValueError("rates lie between 0 and 1")
        if self.throttle_rate + self.error_rate > 1:
            raise ValueError("throttle_rate and error_rate together exceed 1")
        if self.retry_after_s < 0:
            raise ValueError("retry_after_s cannot be negative")
        if self.client_limit is not None and not (
            math.isfinite(self.client_limit) and self.client_limit > 0
        ):
            raise ValueError("client_limit must be above 0 requests per second")


class Weather(ASGIMiddleware):
    """Stands before every request but `/health`; `forecast` may be replaced while the bank runs."""

    scopes = (ScopeType.HTTP,)

    def __init__(
        self, forecast: Forecast, seed: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.forecast = forecast
        self._random = random.Random(seed)
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Delay the request, and let it through or raise BankProblem."""
        if scope["path"] != HEALTH_PATH:
            self._check_limit(_name_client(scope))
            forecast = self.forecast
            lot = self._random.random()
            await asyncio.sleep(
                (forecast.latency_ms + self._random.random() * forecast.latency_spread_ms) / 1000
            )
            if lot < forecast.throttle_rate:
                raise BankProblem(
                    429, "throttled", "Too many requests", retry_after_s=forecast.retry_after_s
                )
            if lot < forecast.throttle_rate + forecast.error_rate:
                raise BankProblem(*self._random.choice(_OUTAGES))
        await next_app(scope, receive, send)

    def _check_limit(self, client: str) -> None:
        """Take one token from the client's bucket; raise BankProblem 429 when there is none."""
        rate = self.forecast.client_limit
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
                429, "client-limit", "This client sends too many requests", retry_after_s=wait_s
            )


def _name_client(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == CLIENT_HEADER.encode():
            return value[:64].decode("latin-1")
    peer = scope.get("client")
    return peer[0] if peer else ""
