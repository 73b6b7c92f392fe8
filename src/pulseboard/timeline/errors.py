"""The errors of this package: the reasons why it cannot answer a question about the past.

The API returns the `code` of an error to its clients, so the codes are stable:

TimelineError
├── FutureMoment            bad-time
├── NoHistory               unknown-service
└── TooManyServices         too-many-services
"""

from typing import ClassVar

from pulseboard.wire.errors import PulseboardError


class TimelineError(PulseboardError):
    """The package cannot answer a question about the past."""

    code: ClassVar[str]


class FutureMoment(TimelineError):
    """The question asks for a moment in the future."""

    code = "bad-time"


class NoHistory(TimelineError):
    """The service in the question is not on the board and has no history."""

    code = "unknown-service"


class TooManyServices(TimelineError):
    """The question asks for more services than one answer may contain."""

    code = "too-many-services"
