"""The one map from the errors of the packages below to problem documents."""

from pulseboard.control.errors import (
    ArgumentsTooLarge,
    BadArguments,
    BoardBlind,
    CommandError,
    IdempotencyKeyReused,
    NoListener,
    TooManyOpenCommands,
    UnknownCommand,
    UnknownCommandId,
    UnknownInstance,
    UnknownService,
)
from pulseboard.server.http.problems import RETRY_SOON, Headers, Problem
from pulseboard.timeline.errors import FutureMoment, NoHistory, TimelineError, TooManyServices
from pulseboard.wire.errors import (
    BusUnavailable,
    HistoryTrimmed,
    InvalidName,
    PulseboardError,
)

RETRY_LATER: Headers = [(b"retry-after", b"5")]

_STATUSES: dict[type[CommandError | TimelineError], int] = {
    ArgumentsTooLarge: 413,
    BadArguments: 422,
    BoardBlind: 503,
    IdempotencyKeyReused: 422,
    NoListener: 409,
    TooManyOpenCommands: 429,
    UnknownCommand: 404,
    UnknownCommandId: 404,
    UnknownInstance: 404,
    UnknownService: 404,
    FutureMoment: 400,
    NoHistory: 404,
    TooManyServices: 400,
}

_HEADERS: dict[type[PulseboardError], Headers] = {
    BoardBlind: RETRY_SOON,
    TooManyOpenCommands: RETRY_LATER,
}


def to_problem(error: PulseboardError) -> Problem | None:
    """Return the problem document of an error.

    None for an error that a client cannot cause, such as InvalidEvent: requests are parsed by
    `query`, so only an event in Redis can be invalid.
    """
    match error:
        case Problem():
            return error
        case BusUnavailable():
            detail = f"Redis cannot be reached: {error}"
            return Problem(503, "redis-unavailable", detail, headers=RETRY_SOON)
        case HistoryTrimmed():
            return Problem(503, "overtaken", f"The export has a gap here: {error}.")
        case InvalidName():
            return Problem(400, "bad-name", f"{error}.")
        case CommandError() | TimelineError():
            return Problem(
                _STATUSES[type(error)],
                error.code,
                str(error),
                headers=_HEADERS.get(type(error)),
                **_members_of(error),
            )
        case _:
            return None


def _members_of(error: CommandError | TimelineError) -> dict[str, object]:
    """Return the members that extend the document of an error."""
    match error:
        case IdempotencyKeyReused():
            return {"command_id": error.command_id}
        case NoListener():
            return {"states": error.states}
        case UnknownCommand():
            return {"offers": error.available}
        case _:
            return {}
