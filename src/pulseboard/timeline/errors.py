"""The errors of this package: why a question about the past has no answer.

TimelineError               `code` is stable: API answers carry it
├── FutureMoment            bad-time
├── NoHistory               unknown-service
└── TooManyServices         too-many-services
"""

from typing import ClassVar

from pulseboard.wire.errors import PulseboardError


class TimelineError(PulseboardError):
    """A question about the past has no answer."""

    code: ClassVar[str]


class FutureMoment(TimelineError):
    """The moment is in the future."""

    code = "bad-time"


class NoHistory(TimelineError):
    """The service is not on the board and has no history."""

    code = "unknown-service"


class TooManyServices(TimelineError):
    """The question covers too many services."""

    code = "too-many-services"
