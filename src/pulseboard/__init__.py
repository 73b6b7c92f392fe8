"""Pulseboard, the live board of your background services.

What is imported from here is the SDK: `Service`, and the seed's own low-level surface.
"""

from pulseboard.bus.client import RedisClient
from pulseboard.bus.pubsub import ServiceChannel, ServicePubSub
from pulseboard.sdk.service import Service
from pulseboard.sdk.stats import ServiceStats
from pulseboard.wire.errors import BusUnavailable, ConfigError, InvalidEvent, InvalidName, PulseboardError
from pulseboard.wire.events import ServiceStatusUpdate

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
