"""The bytes of a frame, read back as a browser reads them."""

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
    """Return the messages that an EventSource dispatches (WHATWG HTML, 9.2.6), with their `id` and `retry`."""
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
def test_json_of_any_shape_arrives_whole_in_one_message(value: object, line_break: str) -> None:
    text = json.dumps(value, indent=1).replace("\n", line_break)
    (message,) = read_stream(format_frame(text.encode(), event="status", id="1765584000000-3"))
    assert json.loads(message["data"]) == value
    assert (message["event"], message["id"]) == ("status", "1765584000000-3")


def test_raw_line_breaks_can_not_start_another_frame() -> None:
    hostile = b'{"a":\r\n\r\nevent: bye\ndata: {}\n\r\r1}'
    messages = read_stream(format_frame(hostile) + format_frame(b"{}"))
    assert [message.get("event") for message in messages] == [None, None]


def test_a_frame_has_only_the_lines_that_were_asked_for() -> None:
    assert format_frame(b"{}") == b"data: {}\n\n"
    assert (
        format_frame(b"{}", event="bye", id="1-0", retry_ms=500)
        == b"id: 1-0\nevent: bye\nretry: 500\ndata: {}\n\n"
    )


def test_a_heartbeat_is_no_message() -> None:
    assert read_stream(KEEPALIVE) == []
    assert KEEPALIVE.endswith(b"\n\n")
