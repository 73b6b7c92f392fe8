"""`FieldReader` reads values at the time of the call, and remembers a bounded number of names."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from tests.unit.sdk.test_status_encoding import ANY_VALUE

from pulseboard.sdk.fields import NAMES_MAX, FieldReader
from pulseboard.sdk.usage_warnings import UsageWarnings
from pulseboard.wire.codec import encode


@pytest.fixture(scope="module")
def reader() -> FieldReader:
    return FieldReader(UsageWarnings("balance-sync"))


@given(ANY_VALUE)
@example(2**63)
@example(-(2**63) - 1)
@example(10**5_000)
@example("\ud800")
@example("naïve")
@example(float("nan"))
def test_value_is_encoded_equally_for_new_and_known_names(reader: FieldReader, value: Any) -> None:
    new_reader = FieldReader(UsageWarnings("balance-sync"))
    first = encode(new_reader.read({"value": value}))
    assert encode(new_reader.read({"value": value})) == first
    assert encode(reader.read({"value": value})) == first
    json.loads(first)


def test_later_changes_by_the_caller_are_not_read(reader: FieldReader) -> None:
    rows = [1]
    for _ in range(2):
        read = reader.read({"rows": rows, "n": 1})
        rows.append(2)
        assert json.loads(encode(read)) == {"rows": rows[:-1], "n": 1}


def test_number_of_remembered_names_is_bounded() -> None:
    reader = FieldReader(UsageWarnings("balance-sync"))
    for n in range(NAMES_MAX + 10):
        assert encode(reader.read({f"field-{n}": n})) == b'{"field-%d":%d}' % (n, n)
    assert len(reader._names) == NAMES_MAX
