"""One HTTP request, whole: the streams are read elsewhere."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

LIMIT_S = 10.0


class Answer(NamedTuple):
    """`status` is 0 when there was no answer."""

    status: int
    body: bytes


async def get(port: int, path: str) -> Answer:
    """Ask a server on loopback for a path, on a connection of its own."""
    try:
        async with asyncio.timeout(LIMIT_S):
            source, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
                )
                head, _, body = (await source.read()).partition(b"\r\n\r\n")
                return Answer(int(head.split()[1]), body)
            finally:
                writer.close()
    except (OSError, TimeoutError, IndexError):
        return Answer(0, b"")
