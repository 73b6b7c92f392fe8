"""Fields are read once, as they are, whether their names are known already or not."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from tests.unit.sdk.test_status_encoding import ANYTHING

from pulseboard.sdk.fields import NAMES_MAX, FieldReader
from pulseboard.sdk.usage_warnings import UsageWarnings
from pulseboard.wire.codec import encode


@pytest.fixture(scope="module")
def reader() -> FieldReader:
    return FieldReader(UsageWarnings("balance-sync"))


@given(ANYTHING)
@example(2**63)
@example(-(2**63) - 1)
@example(10**5_000)
@example("\ud800")
@example("naïve")
@example(float("nan"))
def test_a_value_is_shown_alike_the_first_time_and_the_next(
    reader: FieldReader, value: Any
) -> None:
    anew = FieldReader(UsageWarnings("balance-sync"))
    first = encode(anew.read({"value": value}))
    assert encode(anew.read({"value": value})) == first
    assert encode(reader.read({"value": value})) == first
    json.loads(first)


def test_what_the_caller_changes_afterwards_is_not_told(reader: FieldReader) -> None:
    rows = [1]
    for _ in range(2):
        read = reader.read({"rows": rows, "n": 1})
        rows.append(2)
        assert json.loads(encode(read)) == {"rows": rows[:-1], "n": 1}


def test_names_without_end_are_read_and_not_all_remembered() -> None:
    reader = FieldReader(UsageWarnings("balance-sync"))
    for n in range(NAMES_MAX + 10):
        assert encode(reader.read({f"field-{n}": n})) == b'{"field-%d":%d}' % (n, n)
    assert len(reader._names) == NAMES_MAX
