"""Classifies the errors of redis-py, and translates them into BusUnavailable."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis import exceptions

from pulseboard.wire.errors import BusUnavailable

REDIS_ERRORS = (redis.RedisError, OSError, TimeoutError)
"""The exceptions of a call on a client if Redis is unreachable or refuses the call."""

_TEMPORARY_REFUSALS = ("MISCONF ", "BUSY ")
"""The beginnings of temporary refusals: the disk is not writable, or a long script runs.

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
"""Answers of a node that cannot execute a command now, although another node may."""
# redis-py has no exception class for UNBLOCKED and NOREPLICAS. If a command inside a script fails,
# Redis 6 answers with an error of the script that contains the error of the command in its text.
_WRONG_NODE_TEXT = re.compile(
    r"(UNBLOCKED|NOREPLICAS) |Error running script .* -(READONLY|CLUSTERDOWN|NOREPLICAS) ",
    re.DOTALL,
)


def describe_error(error: BaseException) -> str:
    """Return one line of at most 200 characters that describes an error of redis-py.

    It is safe to log: the messages of redis-py contain hosts and ports, but never passwords.
    """
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


@contextmanager
def bus_errors() -> Iterator[None]:
    """Raise BusUnavailable for every error of a call on a client.

    The error of redis-py is the cause (`__cause__`) of the BusUnavailable.
    """
    try:
        yield
    except REDIS_ERRORS as error:
        raise BusUnavailable(describe_error(error)) from error


def was_refused(error: BusUnavailable) -> bool:
    """Return whether a call failed because Redis refused it, so that a retry is useless."""
    return error.__cause__ is not None and is_refusal(error.__cause__)


def is_refusal(error: BaseException) -> bool:
    """Return whether the error is a refusal by Redis that a retry cannot change."""
    if not isinstance(error, redis.ResponseError | redis.DataError):
        return False
    temporary = isinstance(error, redis.OutOfMemoryError) or str(error).startswith(
        _TEMPORARY_REFUSALS
    )
    return not temporary and not is_wrong_node(error)


def is_wrong_node(error: BaseException) -> bool:
    """Return whether another node, or this node at a later time, may execute the command."""
    return isinstance(error, _WRONG_NODE) or _WRONG_NODE_TEXT.match(str(error)) is not None
