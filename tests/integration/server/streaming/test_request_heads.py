"""A connection has to say what it wants: one that does not within its time is closed, and no other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.server import LIMIT_S, ExternalPublisher, Server, eventually

from pulseboard.server.streaming import uvicorn_protocol

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Send one more line of a head whenever it might have been forgotten, until the other side has enough."""
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof():
            writer.write(b"X: x\r\n")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)


@pytest.mark.parametrize("first", [b"", b"G", HEAD])
async def test_a_head_that_does_not_come_to_its_end_is_waited_for_only_so_long(
    server: Server, first: bytes
) -> None:
    async with connect(server) as (reader, writer), asyncio.timeout(LIMIT_S):
        writer.write(first)
        if first == HEAD:
            await trickle(reader, writer)
        else:
            assert await reader.read() == b""


async def test_an_empty_line_after_an_answer_does_not_hold_the_connection(server: Server) -> None:
    """It ended uvicorn's wait for the next request, and began none of ours."""
    async with connect(server) as (reader, writer), asyncio.timeout(LIMIT_S):
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"}}")
        writer.write(b"\r\n")
        assert await reader.read() == b""


async def test_each_request_has_its_own_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "HEAD_MAX_S", 1.5)
    async with connect(server) as (reader, writer), asyncio.timeout(LIMIT_S):
        for _ in range(2):
            writer.write(HEAD)
            await asyncio.sleep(0.8)  # within its time, but together beyond it
            writer.write(b"\r\n")
            assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200 ")


async def test_a_stream_goes_on(server: Server, publish: ExternalPublisher) -> None:
    async with (
        await server.open("/api/services/status/stream") as stream,
        await server.open() as other,
    ):
        await stream.next()
        waited = asyncio.create_task(asyncio.sleep(0.5))
        await other.next()
        await waited
        await eventually(lambda: server.health()["clients"] == 2)
        update = publish("balance-sync", n=1)
        assert (await stream.next()).data == update
