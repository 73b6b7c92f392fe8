"""SSE frames: their bytes, parsed as a browser parses them."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pulseboard.wire.sse import KEEPALIVE, format_frame

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def read_stream(stream: bytes) -> list[dict[str, str]]:
    """Return the messages that an EventSource dispatches, with their `id` and `retry`.

    Source: WHATWG HTML, 9.2.6.
    """
    messages: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if "data" in fields:
                messages.append(fields)
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = (
                f"{fields['data']}\n{value}" if name == "data" and "data" in fields else value
            )
    return messages


@given(JSON, st.sampled_from(["\n", "\r\n", "\r", "\n\n", ""]))
def test_any_json_is_one_complete_message(value: object, line_break: str) -> None:
    text = json.dumps(value, indent=1).replace("\n", line_break)
    (message,) = read_stream(format_frame(text.encode(), event="status", id="1765584000000-3"))
    assert json.loads(message["data"]) == value
    assert (message["event"], message["id"]) == ("status", "1765584000000-3")


def test_raw_line_breaks_cannot_start_another_frame() -> None:
    hostile = b'{"a":\r\n\r\nevent: bye\ndata: {}\n\r\r1}'
    messages = read_stream(format_frame(hostile) + format_frame(b"{}"))
    assert [message.get("event") for message in messages] == [None, None]


def test_frame_has_only_the_requested_lines() -> None:
    assert format_frame(b"{}") == b"data: {}\n\n"
    assert (
        format_frame(b"{}", event="bye", id="1-0", retry_ms=500)
        == b"id: 1-0\nevent: bye\nretry: 500\ndata: {}\n\n"
    )


def test_keepalive_is_not_a_message() -> None:
    assert read_stream(KEEPALIVE) == []
    assert KEEPALIVE.endswith(b"\n\n")
