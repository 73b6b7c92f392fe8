"""Pulseboard, the live board of your background services.

This package exports the SDK (`Service`) and the low-level classes of the original specification.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulseboard.bus.connection.redis_client import RedisClient
    from pulseboard.bus.pubsub import ServiceChannel, ServicePubSub
    from pulseboard.sdk.service import Service
    from pulseboard.sdk.stats import ServiceStats
    from pulseboard.wire.errors import (
        BusUnavailable,
        ConfigError,
        InvalidEvent,
        InvalidName,
        PulseboardError,
    )
    from pulseboard.wire.events.status import ServiceStatusUpdate

__all__ = [
    "BusUnavailable",
    "ConfigError",
    "InvalidEvent",
    "InvalidName",
    "PulseboardError",
    "RedisClient",
    "Service",
    "ServiceChannel",
    "ServicePubSub",
    "ServiceStats",
    "ServiceStatusUpdate",
]

_MODULES = {
    "RedisClient": "bus.connection.redis_client",
    "ServiceChannel": "bus.pubsub",
    "ServicePubSub": "bus.pubsub",
    "Service": "sdk.service",
    "ServiceStats": "sdk.stats",
    "ServiceStatusUpdate": "wire.events.status",
}


if not TYPE_CHECKING:  # with it, type checkers would accept every name

    def __getattr__(name: str) -> Any:
        # Imported on first use: every `pulseboard` command imports this package, and few of them
        # need a Redis client.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        exported = globals()[name] = getattr(
            import_module(f"{__name__}.{_MODULES.get(name, 'wire.errors')}"), name
        )
        return exported


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
