"""The options of a service, checked, and the small values that its parts are made from."""

import os
from dataclasses import dataclass
from typing import Any

from pulseboard.bus.keys import DEFAULT_NAMESPACE, Keys
from pulseboard.sdk.status_encoding import text_of
from pulseboard.wire.errors import ConfigError
from pulseboard.wire.events.command import check_command_key
from pulseboard.wire.events.status import MAX_HEARTBEAT_S
from pulseboard.wire.names import DEFAULT_PREFIX

MIN_HEARTBEAT_S = 0.05
"""A shorter interval would flood Redis without telling more."""
METRICS_EVERY_S = (0.05, 3_600.0)


@dataclass(frozen=True)
class Identity:
    """One run of one instance: runs are numbered in each process, a new one at each start."""

    service: str
    instance: str
    run: int


@dataclass(frozen=True)
class SenderOptions:
    """The options of a sender: its heartbeat interval, and its Redis as log lines show it."""

    heartbeat_s: float
    redis: str


@dataclass(frozen=True)
class ServiceOptions:
    """The options of a service beside its name, as its runs need them."""

    heartbeat_s: float
    redis_url: str | None
    keys: Keys
    channel_prefix: str
    stop_on_sigterm: bool
    command_key: str | None


def make_options(
    heartbeat_s: float,
    redis_url: str | None,
    namespace: str | None,
    channel_prefix: str | None,
    command_key: str | None,
    *,
    stop_on_sigterm: bool,
) -> ServiceOptions:
    """Return the checked options, completed from the environment; raise ConfigError."""
    return ServiceOptions(
        check_seconds("heartbeat_s", heartbeat_s, MIN_HEARTBEAT_S, MAX_HEARTBEAT_S),
        redis_url,
        Keys(namespace or os.environ.get("PULSEBOARD_NAMESPACE") or DEFAULT_NAMESPACE),
        channel_prefix or os.environ.get("PULSEBOARD_CHANNEL_PREFIX") or DEFAULT_PREFIX,
        stop_on_sigterm,
        check_command_key(command_key or os.environ.get("PULSEBOARD_COMMAND_KEY") or None),
    )


def check_seconds(option: str, value: Any, least: float, most: float) -> float:
    """Return a number of seconds as a float; raise ConfigError if it is out of bounds."""
    if is_number(value) and least <= value <= most:
        return float(value)
    raise ConfigError(
        f"{option} must be a number of seconds from {least:g} to {most:.0f},"
        f" not {text_of(value)[:80]!a}"
    )


def is_number(value: Any) -> bool:
    """Return whether a value is a number; True, an int to Python, is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
