"""Every error that Pulseboard raises, in one tree.

PulseboardError
├── ConfigError          an option or an address is wrong: exit code 2
├── InvalidEvent         a message is not an event; `reason` is a stable code
│   └── InvalidName      a service, instance, command or metric name breaks the rules
├── BusUnavailable       Redis cannot be reached or did not answer
├── HistoryTrimmed       Redis trimmed history entries before they were read
├── ServerUnreachable    the board's server cannot be reached: exit code 3
└── ServerRefused        the board's server refused a request; `code` is that of its problem
document
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
"""Why a message was dropped. The codes are stable: warnings, counters and fixtures use them."""


class PulseboardError(Exception):
    """Something in Pulseboard failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__class__.__doc__)


class ConfigError(PulseboardError, ValueError):
    """The configuration is wrong."""


class InvalidEvent(PulseboardError, ValueError):
    """The message is not an event of the wire format."""

    def __init__(self, reason: Reason, message: str | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class InvalidName(InvalidEvent):
    """The name breaks the rules for names."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__("bad-name", message)


class BusUnavailable(PulseboardError):
    """Redis cannot be reached."""


class HistoryTrimmed(PulseboardError):
    """Redis trimmed history entries, by age or size, before they were read."""


class ServerUnreachable(PulseboardError):
    """The server cannot be reached."""


class ServerRefused(PulseboardError):
    """The server refused a request with a problem document (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code

    @property
    def usage(self) -> bool:
        """Whether the request itself was wrong, as opposed to the state of the server."""
        return self.status in (400, 413, 415, 422)
