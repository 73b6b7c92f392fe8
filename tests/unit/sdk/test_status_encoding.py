"""Any Python value in a status is encoded as valid JSON."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.sdk.status_encoding import VALUE_DEPTH, encode_value, text_of
from pulseboard.wire.errors import InvalidEvent


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Share(float):
    """A subclass of float, as numpy's float64 is (its float32 is not)."""


class Scalar:
    """A scalar with `item`, as numpy has for a bool."""

    ndim = 0

    def item(self) -> bool:
        return True


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Queue:
    length: int


def encoded(value: object) -> Any:
    return json.loads(bytes(encode_value(value)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (math.nan, None),
        (math.inf, None),
        ("naïve", "naïve"),
        ("a\x00\r\n", "a\x00\r\n"),
        ([1, (2, 3)], [1, [2, 3]]),
        ({1: 2, 1.5: 3}, {"1": 2, "1.5": 3}),
        (dt.datetime(2025, 12, 13, tzinfo=dt.UTC), "2025-12-13T00:00:00Z"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (decimal.Decimal("1.50"), "1.50"),
        (Share(1.5), 1.5),
        (fractions.Fraction(1, 4), 0.25),
        ({"ok": Scalar(), "of": [Share(2.5)]}, {"ok": True, "of": [2.5]}),
        (Color.RED, "red"),
        (Queue(3), {"length": 3}),
        (ValueError("bank is away"), "bank is away"),
        (Unprintable(), "<Unprintable>"),
        ("file-\udcff.csv", "file-\\udcff.csv"),
        ([Unprintable(), 1, {"a": "\ud800"}], ["<Unprintable>", 1, {"a": "\\ud800"}]),
        ({(1, 2): 3, None: 4}, {"(1, 2)": 3, "None": 4}),
        ({Unprintable(): 1}, {"<Unprintable>": 1}),
    ],
    ids=lambda value: (
        None if isinstance(value, dict) else text_of(value)[:20].encode("unicode_escape").decode()
    ),
)
def test_value_is_encoded_as_json_or_as_text(value: object, expected: object) -> None:
    assert encoded(value) == expected


def test_number_with_too_many_digits_is_encoded_as_text() -> None:
    assert isinstance(encoded([10**5_000])[0], str)


def test_value_nested_deeper_than_an_event_allows_is_refused() -> None:
    deepest: list[Any] = []
    for _ in range(VALUE_DEPTH - 1):
        deepest = [deepest]
    encode_value(deepest)
    with pytest.raises(InvalidEvent) as error:
        encode_value([deepest])
    assert error.value.reason == "too-deep"
    with pytest.raises(InvalidEvent):
        encode_value([[Unprintable(), deepest]])


def test_circular_list_is_refused_as_too_deep() -> None:
    circular: list[Any] = []
    circular.append(circular)
    with pytest.raises(InvalidEvent) as error:
        encode_value(circular)
    assert error.value.reason == "too-deep"


ANY_VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.builds(Unprintable)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters()) | st.integers() | st.tuples(st.integers()), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(ANY_VALUE)
def test_any_value_becomes_json_that_other_parsers_accept(value: object) -> None:
    data = bytes(encode_value(value))
    msgspec.json.decode(data)
    json.loads(data.decode())
    assert b"\n" not in data
