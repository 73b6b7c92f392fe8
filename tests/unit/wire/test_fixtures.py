"""The golden fixtures of `spec/`, which the tests of the page use too."""

import json
from pathlib import Path
from typing import Any

import pytest

from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.status import parse_external_status
from pulseboard.wire.state import Signs, judge

FIXTURES = Path(__file__).parents[3] / "spec" / "fixtures"


def load(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((FIXTURES / name).read_text("utf-8"))
    return cases


@pytest.mark.parametrize("case", load("state.json"), ids=lambda case: case["name"])
def test_state_matches_the_fixture(case: dict[str, Any]) -> None:
    signs = {name: value for name, value in case.items() if name not in ("name", "state")}
    assert judge(Signs(**signs)) == case["state"]


@pytest.mark.parametrize("case", load("events.json"), ids=lambda case: case["name"])
def test_external_status_is_accepted_or_refused_as_in_the_fixture(case: dict[str, Any]) -> None:
    payload = case["payload"].encode("utf-8", "surrogatepass")
    if case["valid"]:
        parse_external_status(case["channel"], payload)
        return
    with pytest.raises(InvalidEvent) as refusal:
        parse_external_status(case["channel"], payload)
    assert refusal.value.reason == case["reason"]
