"""Errors of redis-py: which are temporary, and their translation into BusUnavailable."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis import exceptions

from pulseboard.wire.errors import BusUnavailable

REDIS_ERRORS = (redis.RedisError, OSError, TimeoutError)
"""Every exception of a call on a client, when Redis is unreachable or refuses the call."""

_TEMPORARY_REFUSALS = ("MISCONF ", "BUSY ")
"""Answers of a Redis whose disk is full, or that runs a long script.

The same command may succeed a moment later.
"""

_WRONG_NODE = (
    exceptions.ReadOnlyError,
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.BusyLoadingError,
)
# redis-py has no exception class for these answers; and Redis 6 puts the error of a command inside
# a script into the text of the script's error.
_WRONG_NODE_TEXT = re.compile(
    r"(UNBLOCKED|NOREPLICAS) |Error running script .* -(READONLY|CLUSTERDOWN|NOREPLICAS) ",
    re.DOTALL,
)


def describe_error(error: BaseException) -> str:
    """Return one line that describes a connection error, at most 200 characters long.

    The messages of redis-py name hosts and ports, but never passwords.
    """
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


@contextmanager
def bus_errors() -> Iterator[None]:
    """Raise BusUnavailable for every error of a call on a client.

    The driver's error is its cause.
    """
    try:
        yield
    except REDIS_ERRORS as error:
        raise BusUnavailable(describe_error(error)) from error


def was_refused(error: BusUnavailable) -> bool:
    """Return whether Redis answered the call that failed, and refused it for good."""
    return error.__cause__ is not None and is_refusal(error.__cause__)


def is_refusal(error: BaseException) -> bool:
    """Return whether Redis refused the command for good, so that a retry is useless."""
    if not isinstance(error, redis.ResponseError | redis.DataError):
        return False
    temporary = isinstance(error, redis.OutOfMemoryError) or str(error).startswith(
        _TEMPORARY_REFUSALS
    )
    return not temporary and not is_wrong_node(error)


def is_wrong_node(error: BaseException) -> bool:
    """Return whether another node, or this node at a later time, can execute the command."""
    return isinstance(error, _WRONG_NODE) or _WRONG_NODE_TEXT.match(str(error)) is not None
