"""The map from domain errors to problem documents."""

from typing import Any

import pytest

from pulseboard.control.errors import (
    BoardBlind,
    CommandError,
    IdempotencyKeyReused,
    NoListener,
    TooManyOpenCommands,
    UnknownCommand,
)
from pulseboard.server.http.errors_to_problems import to_problem
from pulseboard.server.http.problems import Problem
from pulseboard.timeline.errors import TimelineError
from pulseboard.wire.errors import (
    BusUnavailable,
    ConfigError,
    HistoryTrimmed,
    InvalidEvent,
    InvalidName,
    PulseboardError,
)
from pulseboard.wire.state import State


def convert(error: PulseboardError) -> Problem:
    problem = to_problem(error)
    assert problem is not None
    return problem


SPECIAL: list[tuple[PulseboardError, int, dict[str, Any]]] = [
    (IdempotencyKeyReused("c1"), 422, {"code": "idempotency-key-reused", "command_id": "c1"}),
    (
        NoListener("why", {"a": State.LOST}),
        409,
        {"code": "no-listener", "states": {"a": State.LOST}, "detail": "why"},
    ),
    (UnknownCommand("why", ["pause"]), 404, {"code": "unknown-command", "offers": ["pause"]}),
    (BusUnavailable("no route"), 503, {"code": "redis-unavailable"}),
    (HistoryTrimmed(), 503, {"code": "overtaken"}),
    (InvalidName("no name"), 400, {"code": "bad-name", "detail": "no name."}),
]


@pytest.mark.parametrize(("error", "status", "members"), SPECIAL)
def test_errors_with_facts_become_problems_with_members(
    error: PulseboardError, status: int, members: dict[str, Any]
) -> None:
    problem = convert(error)
    assert problem.status == status
    assert problem.document | members == problem.document


@pytest.mark.parametrize("kind", [*CommandError.__subclasses__(), *TimelineError.__subclasses__()])
def test_every_domain_error_has_a_status(kind: type[CommandError] | type[TimelineError]) -> None:
    facts: dict[Any, tuple[Any, ...]] = {
        IdempotencyKeyReused: ("c1",),
        NoListener: ("why", {}),
        UnknownCommand: ("why", []),
    }
    problem = convert(kind(*facts.get(kind, ("why",))))
    assert 400 <= problem.status < 600
    assert problem.document["code"] == kind.code


@pytest.mark.parametrize("error", [ConfigError("wrong"), InvalidEvent("malformed")])
def test_errors_that_no_client_can_cause_have_no_problem(error: PulseboardError) -> None:
    assert to_problem(error) is None


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(BusUnavailable(), b"2"), (BoardBlind(), b"2"), (TooManyOpenCommands(), b"5")],
)
def test_temporary_errors_say_when_to_retry(error: PulseboardError, seconds: bytes) -> None:
    assert (b"retry-after", seconds) in convert(error).headers
