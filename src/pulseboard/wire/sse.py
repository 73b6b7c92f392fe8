"""Server-Sent Events: format the bytes of one frame (WHATWG HTML, 9.2 "Server-sent events")."""

KEEPALIVE = b": heartbeat\n\n"
"""A comment, which clients ignore. Its text is that of the original specification."""

_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def format_frame(
    data: bytes, *, event: str = "", id: str = "", retry_ms: int | None = None
) -> bytes:
    """Return one frame.

    `data` is JSON. A line break in it can only be white space between tokens, so it becomes a
    space.
    """
    lines = b""
    if id:
        lines += b"id: %b\n" % id.encode()
    if event:
        lines += b"event: %b\n" % event.encode()
    if retry_ms is not None:
        lines += b"retry: %d\n" % retry_ms
    return lines + b"data: %b\n\n" % data.translate(_LINE_BREAKS)
