"""The client of the chaos runs parses a stream that arrives in arbitrary pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chaos.client import Client, decode_chunks
from chaos.external import ReportedGap
from chaos.waiting import wait_until

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BOARD = b'id: 5-0\nevent: board\ndata: {"now":1,"blind":null}\n\n'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def status(n: int) -> bytes:
    return b'id: %d-0\nevent: status\ndata: {"service":"a"}\n\n' % n


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_chunks_are_decoded_at_any_cut() -> None:
    complete = chunk(b"one\r\n") + chunk(b"two") + b"0\r\n\r\n"
    for cut in range(len(complete) - 5):
        first, incomplete, ended = decode_chunks(complete[:cut])
        assert not ended
        rest, _, ended = decode_chunks(incomplete + complete[cut:])
        assert (first + rest, ended) == (b"one\r\ntwo", True)


@asynccontextmanager
async def reading(*responses: bytes) -> AsyncIterator[tuple[Client, list[bytes]]]:
    """Run a client of a server with one response per connection; the last one stays open."""
    requests: list[bytes] = []
    remaining = list(responses)

    async def serve(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        requests.append(await source.readuntil(b"\r\n\r\n"))
        sink.write(HEAD + remaining.pop(0))
        if not remaining:
            await source.read()
        sink.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client([server.sockets[0].getsockname()[1]])
        task = asyncio.create_task(client.run())
        try:
            yield client, requests
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_segment_continues_over_connections_and_ends_with_a_reset() -> None:
    torn = status(8)[:-9]
    reset = b'id: 9-0\nevent: reset\ndata: {"reason":"x"}\n\n' + BOARD.replace(b"5-0", b"9-0")
    async with reading(chunk(BOARD + status(6) + torn), chunk(status(7) + reset + status(10))) as (
        client,
        requests,
    ):
        assert await wait_until(lambda: client.last_id == 10 << 20, 5)
    first, second = client.log.segments
    assert ([id >> 20 for id in first.ids], first.ended) == ([6, 7], "reset")
    assert ([id >> 20 for id in second.ids], second.start >> 20) == ([10], 9)
    assert b"Last-Event-ID: 6-0" in requests[1] or b"since=6-0" in requests[1]


async def test_skipped_event_is_counted_and_an_event_before_its_board_is_an_orphan() -> None:
    skipped = (
        b'event: skipped\ndata: {"reason":"slow","skipped":{"status":3,"lifecycle":1,"log":9}}\n\n'
    )
    async with reading(chunk(BOARD + skipped + status(7) + BOARD + status(8))) as (client, _):
        assert await wait_until(lambda: client.last_id == 8 << 20, 5)
    assert (client.log.segments[0].skipped, client.log.orphans) == (4, 1)


async def test_latest_report_about_each_coverage_gap_is_kept() -> None:
    reports = [
        b"null",
        b'{"since":3,"until":null}',
        b'{"since":3,"until":7}',
        b'{"since":4,"until":6}',
    ]
    reports += [
        b'{"since":9,"until":null}',
        b"null",
        b'{"since":11,"until":12}',
        b'{"since":15,"until":null}',
    ]
    pings = b"".join(
        b'id: 5-0\nevent: ping\ndata: {"now":9,"blind":null,"gap":%b}\n\n' % report
        for report in reports
    )
    async with reading(chunk(BOARD + pings + status(6))) as (client, _):
        assert await wait_until(lambda: client.last_id == 6 << 20, 5)
    assert client.gaps == [ReportedGap(4, 6), ReportedGap(11, 12), ReportedGap(15, None)]


async def test_blind_time_lasts_until_a_ping_without_blind() -> None:
    blind = b'id: 5-0\nevent: ping\ndata: {"now":1,"blind":{"since":1,"reason":"x"}}\n\n'
    async with reading(chunk(BOARD + blind), chunk(blind + status(6))) as (client, _):
        assert await wait_until(lambda: client.last_id == 6 << 20, 5)
        assert client.longest_blind_s > 0
