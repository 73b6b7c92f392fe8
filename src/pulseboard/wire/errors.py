"""Every error Pulseboard raises, in one tree.

PulseboardError
├── ConfigError          an option or an address is wrong: exit code 2
├── InvalidEvent         a message that is no event; `reason` is a stable code
│   └── InvalidName      a service, instance or channel name that cannot be one
└── BusUnavailable       Redis cannot be reached or did not answer
"""

from typing import Literal

Reason = Literal[
    "too-large",
    "malformed",
    "wrong-type",
    "too-deep",
    "bad-name",
    "channel-mismatch",
    "unknown-channel",
    "board-full",
    "not-obeyed",
]
"""Why a message was dropped. Stable: warnings, counters and fixtures use these words."""


class PulseboardError(Exception):
    """Something in Pulseboard failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__class__.__doc__)


class ConfigError(PulseboardError, ValueError):
    """The configuration is wrong."""


class InvalidEvent(PulseboardError, ValueError):
    """A message is not an event of the wire format."""

    def __init__(self, reason: Reason, message: str | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class InvalidName(InvalidEvent):
    """A name cannot be the name of a service."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__("bad-name", message)


class BusUnavailable(PulseboardError):
    """Redis cannot be reached."""
