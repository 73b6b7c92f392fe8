"""The reader of the chaos runs: what it takes from a stream, whatever pieces that comes in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chaos.plain import Span
from chaos.reader import Reader, unchunk
from chaos.waiting import wait_until

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BOARD = b'id: 5-0\nevent: board\ndata: {"now":1,"blind":null}\n\n'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


def status(n: int) -> bytes:
    return b'id: %d-0\nevent: status\ndata: {"service":"a"}\n\n' % n


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_chunks_are_taken_out_wherever_the_pieces_are_cut() -> None:
    whole = chunk(b"one\r\n") + chunk(b"two") + b"0\r\n\r\n"
    for cut in range(len(whole) - 5):
        first, held, ended = unchunk(whole[:cut])
        assert not ended
        rest, _, ended = unchunk(held + whole[cut:])
        assert (first + rest, ended) == (b"one\r\ntwo", True)


@asynccontextmanager
async def reading(*answers: bytes) -> AsyncIterator[tuple[Reader, list[bytes]]]:
    """Run a reader against a server that gives one answer for each connection, the last one for good."""
    requests: list[bytes] = []
    left = list(answers)

    async def serve(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        requests.append(await source.readuntil(b"\r\n\r\n"))
        sink.write(HEAD + left.pop(0))
        if not left:
            await source.read()
        sink.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader = Reader([server.sockets[0].getsockname()[1]])
        task = asyncio.create_task(reader.run())
        try:
            yield reader, requests
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_streak_goes_on_over_connections_and_ends_with_a_reset() -> None:
    torn = status(8)[:-9]
    told = b'id: 9-0\nevent: reset\ndata: {"reason":"x"}\n\n' + BOARD.replace(b"5-0", b"9-0")
    async with reading(chunk(BOARD + status(6) + torn), chunk(status(7) + told + status(10))) as (
        reader,
        requests,
    ):
        assert await wait_until(lambda: reader.last == 10 << 20, 5)
    first, second = reader.log.streaks
    assert ([id >> 20 for id in first.ids], first.ended) == ([6, 7], "reset")
    assert ([id >> 20 for id in second.ids], second.start >> 20) == ([10], 9)
    assert b"Last-Event-ID: 6-0" in requests[1] or b"since=6-0" in requests[1]


async def test_a_skipped_is_counted_and_an_event_before_its_board_is_an_orphan() -> None:
    skipped = (
        b'event: skipped\ndata: {"reason":"slow","skipped":{"status":3,"lifecycle":1,"log":9}}\n\n'
    )
    async with reading(chunk(BOARD + skipped + status(7) + BOARD + status(8))) as (reader, _):
        assert await wait_until(lambda: reader.last == 8 << 20, 5)
    assert (reader.log.streaks[0].skipped, reader.log.orphans) == (4, 1)


async def test_each_time_in_which_nobody_heard_is_kept_as_it_was_told() -> None:
    words = [
        b"null",
        b'{"since":3,"until":null}',
        b'{"since":3,"until":7}',
        b'{"since":4,"until":6}',
    ]
    words += [
        b'{"since":9,"until":null}',
        b"null",
        b'{"since":11,"until":12}',
        b'{"since":15,"until":null}',
    ]
    pings = b"".join(
        b'id: 5-0\nevent: ping\ndata: {"now":9,"blind":null,"gap":%b}\n\n' % word for word in words
    )
    async with reading(chunk(BOARD + pings + status(6))) as (reader, _):
        assert await wait_until(lambda: reader.last == 6 << 20, 5)
    assert reader.gap == [Span(4, 6), Span(11, 12), Span(15, None)]


async def test_blindness_lasts_until_a_ping_says_that_it_is_over() -> None:
    blind = b'id: 5-0\nevent: ping\ndata: {"now":1,"blind":{"since":1,"reason":"x"}}\n\n'
    async with reading(chunk(BOARD + blind), chunk(blind + status(6))) as (reader, _):
        assert await wait_until(lambda: reader.last == 6 << 20, 5)
        assert reader.longest_blind_s > 0
