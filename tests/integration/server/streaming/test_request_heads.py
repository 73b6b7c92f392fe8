"""The server closes a connection whose request head is incomplete after HEAD_MAX_S."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.server import LIMIT_S, ExternalPublisher, Server, eventually

from pulseboard.server.streaming import uvicorn_protocol

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_protocol, "HEAD_MAX_S", 0.3)


@contextlib.asynccontextmanager
async def connect(
    server: Server,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one line of a head every 0.05 s until the server closes the connection."""
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof():
            writer.write(b"X: x\r\n")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)


@pytest.mark.parametrize("first", [b"", b"G", HEAD])
async def test_connection_with_an_incomplete_head_is_closed_after_the_limit(
    server: Server, first: bytes
) -> None:
    async with connect(server) as (reader, writer), asyncio.timeout(LIMIT_S):
        writer.write(first)
        if first == HEAD:
            await trickle(reader, writer)
        else:
            assert await reader.read() == b""


async def test_empty_line_after_a_response_does_not_keep_the_connection_open(
    server: Server,
) -> None:
    """The line ended the keep-alive timeout of uvicorn but did not start our limit."""
    async with connect(server) as (reader, writer), asyncio.timeout(LIMIT_S):
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"}}")
        writer.write(b"\r\n")
        assert await reader.read() == b""


async def test_time_limit_applies_to_each_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "HEAD_MAX_S", 1.5)
    async with connect(server) as (reader, writer), asyncio.timeout(LIMIT_S):
        for _ in range(2):
            writer.write(HEAD)
            await asyncio.sleep(0.8)  # each head is within the limit, both together exceed it
            writer.write(b"\r\n")
            assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200 ")


async def test_time_limit_does_not_end_a_stream(server: Server, publish: ExternalPublisher) -> None:
    async with (
        await server.open("/api/services/status/stream") as stream,
        await server.open() as other,
    ):
        await stream.next()
        limit_exceeded = asyncio.create_task(asyncio.sleep(0.5))
        await other.next()
        await limit_exceeded
        await eventually(lambda: server.health()["clients"] == 2)
        update = publish("balance-sync", n=1)
        assert (await stream.next()).data == update
