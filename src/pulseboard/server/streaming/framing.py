"""How the bytes of a stream are framed for HTTP, and how long its last bytes may take."""

FINAL_BYTES_S = 1.0
"""Time for a client that is behind to read its last bytes."""


def frame_chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame_plain(data: bytes) -> bytes:
    """Frame bytes for a response that ends with the connection."""
    return data
