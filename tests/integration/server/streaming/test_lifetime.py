"""Streams end after their lifetime, and clients that resume miss no event."""

import asyncio

from tests.support.server import ExternalPublisher, ServeFixture, eventually

from pulseboard.bus.connection.address import RedisAddress

COUNT = 60


async def test_client_that_resumes_after_the_end_of_its_stream_misses_no_event(
    serve: ServeFixture, address: RedisAddress, publish: ExternalPublisher
) -> None:
    server = serve(address, stream_lifetime_s=0.3, ping_s=0.02)
    await eventually(server.is_ready)

    async def publish_all() -> None:
        for n in range(1, COUNT + 1):
            publish("balance-sync", n=n)
            await asyncio.sleep(0.02)

    publishing = asyncio.create_task(publish_all())
    numbers: list[int] = []
    ends, path, seen = 0, "/api/stream", ""
    while not numbers or numbers[-1] < COUNT:
        async with await server.open(path) as stream:
            for message in await stream.rest():
                seen = message.id or seen
                if message.event == "status":
                    numbers.append(message.data["status"]["n"])
                assert message.event != "reset"
        assert message.event == "bye"
        assert message.retry is not None
        ends, path = ends + 1, f"/api/stream?since={seen}"
    await publishing
    assert numbers[numbers.index(min(numbers)) :] == list(range(min(numbers), COUNT + 1))
    assert ends >= 3


async def test_status_stream_has_the_same_lifetime(
    serve: ServeFixture, address: RedisAddress
) -> None:
    server = serve(address, stream_lifetime_s=0.3, ping_s=0.02)
    await eventually(server.is_ready)
    async with await server.open("/api/services/status/stream") as stream:
        snapshot, last = await stream.rest()
    assert "balanceSync" in snapshot.data
    assert (last.data, last.retry is not None) == (None, True)
