"""One complete HTTP request and response. `chaos.client` reads the streams."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

LIMIT_S = 10.0


class HttpResponse(NamedTuple):
    """A response; `status` is 0 when the request failed."""

    status: int
    body: bytes


async def get(port: int, path: str) -> HttpResponse:
    """Request a path from a server on loopback, over a connection of its own."""
    try:
        async with asyncio.timeout(LIMIT_S):
            source, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
                )
                head, _, body = (await source.read()).partition(b"\r\n\r\n")
                return HttpResponse(int(head.split()[1]), body)
            finally:
                writer.close()
    except (OSError, TimeoutError, IndexError):
        return HttpResponse(0, b"")
