"""Cursors: positions in the feed, as text and in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.wire.cursor import ZERO, Cursor

PARTS = st.integers(0, 2**64 - 1)
CURSORS = st.builds(Cursor, PARTS, PARTS)


@given(CURSORS)
def test_cursor_is_unchanged_after_formatting_and_parsing(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == Cursor.parse(str(cursor).encode()) == cursor


@given(CURSORS, CURSORS)
def test_cursors_are_ordered_by_time_then_by_sequence(one: Cursor, other: Cursor) -> None:
    assert (one < other) == (one.ms < other.ms or (one.ms == other.ms and one.seq < other.seq))
    assert one >= ZERO


def test_cursors_are_ordered_as_numbers_and_not_as_text() -> None:
    assert Cursor.parse("9-10") < Cursor.parse("10-9")
    assert Cursor.parse("1-9") < Cursor.parse("1-10")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-",
        "-1",
        "1-1-1",
        "1-1\n",
        " 1-1",
        "+1-1",
        "0x1-1",
        "1e3-0",
        "$",
        "*",
        "\u0661-\u0661",
        "9" * 21 + "-0",
    ],
)
def test_text_that_is_not_a_feed_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a feed id"):
        Cursor.parse(text)
    with pytest.raises(ValueError, match="not a feed id"):
        Cursor.parse(text.encode())


@given(st.binary())
def test_any_bytes_give_a_cursor_or_a_value_error(data: bytes) -> None:
    try:
        cursor = Cursor.parse(data)
    except ValueError:
        return
    assert Cursor.parse(str(cursor)) == cursor
