"""The status stream and its snapshot (original specification, sections 6 and 7)."""

import asyncio
import itertools

from tests.support.server import ExternalPublisher, ServeFixture, Server, Stream, eventually

from pulseboard.bus.connection.address import RedisAddress

PATH = "/api/services/status/stream"
SNAPSHOT: dict[str, dict[str, object]] = {
    "balanceSync": {},
    "accountDiscovery": {},
    "accountEnrichment": {},
}


async def test_snapshot_holds_the_expected_services_before_they_are_seen(server: Server) -> None:
    answer = server.get("/api/services/status")
    assert answer.json() == SNAPSHOT
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_snapshot_holds_the_last_status_of_each_service(
    server: Server, publish: ExternalPublisher
) -> None:
    publish("balance-sync", done=1)
    publish("balance-sync", done=2, queue={"high": []})
    publish("report.cron_job", last=None)
    expected = SNAPSHOT | {
        "balanceSync": {"done": 2, "queue": {"high": []}},
        "reportCronJob": {"last": None},
    }
    await eventually(lambda: server.get("/api/services/status").json() == expected)


async def test_stream_has_the_specified_headers(any_server: Server) -> None:
    async with await any_server.open(PATH) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in stream.headers["cache-control"]
        assert stream.headers["connection"] == "keep-alive"
        assert stream.headers["x-accel-buffering"] == "no"


async def test_stream_begins_with_the_snapshot_and_continues_with_unchanged_updates(
    any_server: Server, publish: ExternalPublisher
) -> None:
    async with await any_server.open(PATH) as stream:
        first = await stream.next()
        assert (first.event, first.data) == (None, SNAPSHOT)
        updates = [
            publish("balance-sync", done=1),
            publish("account-discovery", isRunning=True, at="12:00 ✓"),
        ]
        for update in updates:
            message = await stream.next()
            assert (message.event, message.data) == (None, update)
            assert list(message.data) == ["service", "timestamp", "status"]


async def test_burst_of_a_thousand_messages_arrives_completely_and_in_order(
    any_server: Server, publish: ExternalPublisher
) -> None:
    async with await any_server.open(PATH) as stream:
        await stream.next()
        await asyncio.to_thread(lambda: [publish("balance-sync", done=n) for n in range(1_000)])
        assert [(await stream.next()).data["status"]["done"] for _ in range(1_000)] == list(
            range(1_000)
        )


async def test_keep_alive_comments_keep_a_quiet_stream_open(
    serve: ServeFixture, address: RedisAddress
) -> None:
    server = serve(address, keepalive_s=0.1)
    async with await server.open(PATH) as stream:
        comments = 0
        while comments < 3:
            comments += (await stream.next(comments=True)).comment == "heartbeat"


async def test_server_forgets_clients_that_disconnect(
    any_server: Server, publish: ExternalPublisher
) -> None:
    streams = [await any_server.open(path) for path in (PATH, PATH, "/api/stream", "/api/stream")]
    await eventually(lambda: any_server.health()["clients"] == 4)
    for stream, end in zip(streams, (Stream.close, Stream.reset) * 2, strict=True):
        end(stream)
    await eventually(lambda: any_server.health()["clients"] == 0)
    publish("balance-sync", done=1)
    await eventually(lambda: any_server.get("/api/services/status").json()["balanceSync"])


async def test_http_1_0_client_receives_bytes_without_chunks_until_the_connection_ends(
    any_server: Server, publish: ExternalPublisher
) -> None:
    """HTTP/1.0 has no chunks: their sizes appeared between the messages."""
    async with await any_server.open(PATH, version="1.0") as stream:
        assert "transfer-encoding" not in stream.headers
        assert stream.headers["connection"] == "close"
        assert (await stream.next()).data == SNAPSHOT
        update = publish("balance-sync", done=1)
        assert (await stream.next()).data == update


async def test_head_request_is_answered_without_a_body(any_server: Server) -> None:
    for path in (PATH, "/api/stream"):
        async with await any_server.open(path, method="HEAD") as stream:
            assert stream.status == 200
            assert stream.headers["content-type"].startswith("text/event-stream")
            await stream.request("/healthz", method="GET")  # the connection stays usable
            assert stream.status == 200
    assert any_server.health()["clients"] == 0


async def test_other_methods_than_get_and_head_are_rejected(any_server: Server) -> None:
    for method, path in itertools.product(("POST", "PUT", "DELETE"), (PATH, "/api/stream")):
        answer = any_server.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "method-not-allowed"
