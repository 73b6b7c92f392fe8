"""Small parts of the command line: the stream parser, moments, and output formats."""

import pytest

from pulseboard.cli.live import Message, SseParser
from pulseboard.cli.moment import Moment
from pulseboard.cli.output_style import format_age, format_fields, safe
from pulseboard.cli.table import shorten
from pulseboard.wire.errors import ConfigError

STREAM = (
    ': hello\n\nid: 1-0\nevent: status\ndata: {"a":"ü"}\n\n'
    ": heartbeat\n\nevent: reset\ndata: {}\n\n"
    "id: 2-0\r\nevent: bye\r\nretry: 750\r\ndata: 1\r\ndata: 2\r\n\r\n"
    "data:x\n\nevent: cut\ndata: never\n"
).encode()
MESSAGES = [
    Message("status", "1-0", '{"a":"ü"}'.encode()),
    Message("reset", "", b"{}"),
    Message("bye", "2-0", b"1\n2"),
    Message("message", "", b"x"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_messages_do_not_depend_on_the_sizes_of_the_received_pieces(size: int) -> None:
    parser = SseParser()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [message for piece in pieces for message in parser.feed(piece)] == MESSAGES
    assert parser.retry_ms == 750


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("10m", 400_000),
        ("1.5s", 998_500),
        ("250ms", 999_750),
        ("1w", 0),
        ("500000", 500_000),
        ("1970-01-01T00:01:00Z", 60_000),
        ("1970-01-01T01:01:00+01:00", 60_000),
    ],
)
def test_moment_is_an_age_or_a_time(text: str, ms: int) -> None:
    assert Moment.parse("--since", text).ms(1_000_000) == ms


@pytest.mark.parametrize("text", ["", "10", "10 m", "m", "-5m", "tomorrow", "10M", "9" * 5_000])
def test_invalid_moment_is_refused_and_bare_number_is_milliseconds(text: str) -> None:
    if text == "10":
        assert Moment.parse("--since", text).at_ms == 10
        return
    with pytest.raises(ConfigError, match="--since"):
        Moment.parse("--since", text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0.0s"),
        (449, "0.4s"),
        (9_949, "9.9s"),
        (9_960, "9s"),
        (59_999, "59s"),
        (60_000, "1m00s"),
        (3_599_999, "59m59s"),
        (7_500_000, "2h05m"),
        (90_000_000, "1d01h"),
        (1e12, "11574d"),
    ],
)
def test_age_has_at_most_six_characters(ms: float, text: str) -> None:
    assert format_age(ms) == text
    assert len(text) <= 6


def test_fields_are_formatted_in_one_line() -> None:
    fields = {
        "n": 1,
        "text": "in work",
        "word": "idle",
        "none": None,
        "empty": "",
        "deep": {"a": [1, "b"]},
        "bad": "\n",
    }
    assert (
        format_fields(fields)
        == 'n=1 text="in work" word=idle none=null empty="" deep={"a":[1,"b"]} bad="\\n"'
    )
    assert safe("a\x1b\u202e\x9b é日") == r"a\x1b\u202e\x9b é日"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 5, "short"),
        ("host.example:4001", 11, "host.…:4001"),
        ("日本語日本語", 7, "日…語"),
        ("abc", 1, "…"),
    ],
)
def test_long_name_is_shortened_in_its_middle(text: str, width: int, shown: str) -> None:
    assert shorten(text, width) == shown
