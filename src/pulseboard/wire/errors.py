"""Every error Pulseboard raises, in one tree.

PulseboardError
├── ConfigError          an option or an address is wrong: exit code 2
├── InvalidEvent         a message that is no event; `reason` is a stable code
│   └── InvalidName      a service, instance or channel name that cannot be one
├── BusUnavailable       Redis cannot be reached or did not answer
├── Overtaken            what was being read left Redis meanwhile
├── ServerUnreachable    the board's server cannot be reached: exit code 3
└── ServerRefused        the board's server said no; `code` is that of its problem document
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
    "command-refused",
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


class HistoryTrimmed(PulseboardError):
    """What was being read left Redis before it was reached: too old, or too much."""


class ServerUnreachable(PulseboardError):
    """The server cannot be reached."""


class ServerRefused(PulseboardError):
    """The server said no (RFC 9457). `usage`: it was asked for what cannot be."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code

    @property
    def usage(self) -> bool:
        return self.status in (400, 413, 415, 422)
