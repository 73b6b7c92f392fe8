"""`GET /api/stream`: the board, then every event; after a reconnect, the missed events."""

import asyncio
import contextlib
from typing import Any

import pytest
from tests.support.server import EXPECTED, ExternalPublisher, ServeFixture, Server, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.sdk.service import Service


async def test_stream_begins_with_the_board_and_continues_with_each_status(
    any_server: Server, publish: ExternalPublisher
) -> None:
    publish("report", n=0)
    await eventually(lambda: any_server.health()["instances"] == 1)
    async with await any_server.open() as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        board = await stream.next()
        assert board.event == "board"
        assert board.data["blind"] is None
        assert board.data["expect"] == list(EXPECTED)
        assert board.data["insecure"] is False
        (instance,) = board.data["instances"]
        assert (instance["service"], instance["instance"], instance["status"]) == (
            "report",
            "",
            {"n": 0},
        )
        assert f"{instance['seen']}-" in instance["id"]
        update = publish("balance-sync", n=1)
        status = await stream.until(lambda message: message.event == "status")
        assert status.data == update | {"instance": ""}
        assert status.id is not None
        assert int(status.id.split("-")[0]) >= instance["seen"]


async def test_stream_shows_start_heartbeats_and_graceful_stop_of_a_service(
    server: Server, address: RedisAddress, namespace: str, prefix: str
) -> None:
    async with await server.open() as stream:
        async with Service(
            "balance-sync",
            heartbeat_s=0.2,
            instance="one",
            redis_url=address.url,
            namespace=namespace,
            channel_prefix=prefix,
        ) as service:
            first = await stream.until(lambda message: message.event == "status")
            assert first.data["heartbeat_s"] == 0.2
            service.update(done=1)
            second = await stream.until(lambda message: message.event == "status")
            assert (second.data["instance"], second.data["status"]) == ("one", {"done": 1})
            heartbeats = await stream.until(lambda message: message.event == "heartbeats")
            (((name, instance, seen)),) = heartbeats.data["heartbeats"]
            assert (name, instance) == ("balance-sync", "one")
            assert abs(heartbeats.data["now"] - seen) < 5_000
        bye = await stream.until(lambda message: message.event == "status")
        assert bye.data["stopped"] is True


async def test_stream_of_one_service_has_no_heartbeats_of_other_services(
    server: Server, address: RedisAddress, namespace: str, prefix: str
) -> None:
    """The filter applies to live heartbeats and to the heartbeats after a reconnect."""
    where: Any = {
        "redis_url": address.url,
        "namespace": namespace,
        "channel_prefix": prefix,
        "heartbeat_s": 0.2,
    }
    with (
        Service("balance-sync", instance='o"]}ne', **where),
        Service("report", **where),
        Service("zeta", **where),
    ):
        await eventually(lambda: server.health()["instances"] == 3)
        async with await server.open() as unfiltered:
            services_seen: set[str] = set()
            while services_seen != {"balance-sync", "report", "zeta"}:
                heartbeats = await unfiltered.until(lambda message: message.event == "heartbeats")
                services_seen |= {service for service, *_ in heartbeats.data["heartbeats"]}
        async with await server.open("/api/stream?services=balance-sync,unheard-of") as stream:
            live = [
                await stream.until(lambda message: message.event == "heartbeats") for _ in range(8)
            ]
        async with await server.open(
            f"/api/stream?services=balance-sync&since={live[-1].id}"
        ) as stream:
            resumed = await stream.next()
        async with await server.open("/api/stream?services=unheard-of") as stream:
            empty = await stream.until(lambda message: message.event == "heartbeats")
    assert {
        tuple(heartbeat[:2]) for heartbeats in live for heartbeat in heartbeats.data["heartbeats"]
    } == {("balance-sync", 'o"]}ne')}
    assert [heartbeat[:2] for heartbeat in resumed.data["heartbeats"]] == [
        ["balance-sync", 'o"]}ne']
    ]
    assert (empty.data["heartbeats"], empty.data["observed_until"] > 0) == ([], True)


async def test_pings_arrive_at_the_interval_that_the_board_declares(
    serve: ServeFixture, address: RedisAddress
) -> None:
    server = serve(address, ping_s=0.1)
    async with await server.open() as stream:
        assert (await stream.next()).data["ping_s"] == 0.1
        pings = [await stream.until(lambda message: message.event == "ping") for _ in range(3)]
        times = [ping.data["now"] for ping in pings]
        assert times == sorted(times)


class TestResume:
    @pytest.mark.parametrize("how", ["header", "query"])
    async def test_missed_events_follow_once(
        self, any_server: Server, publish: ExternalPublisher, how: str
    ) -> None:
        async with await any_server.open() as stream:
            publish("balance-sync", n=1)
            seen = await stream.until(lambda message: message.event == "status")
        for n in (2, 3, 4):
            publish("balance-sync", n=n)
        await eventually(
            lambda: any_server.get("/api/services/status").json()["balanceSync"] == {"n": 4}
        )
        path, head = (
            ("/api/stream", f"Last-Event-ID: {seen.id}\r\n")
            if how == "header"
            else (f"/api/stream?since={seen.id}", "")
        )
        async with await any_server.open(path, head=head) as stream:
            publish("balance-sync", n=5)
            messages = [await stream.next() for _ in range(6)]
        assert [message.event for message in messages[:2]] == ["heartbeats", "ping"]
        assert [message.data["status"]["n"] for message in messages[2:]] == [2, 3, 4, 5]

    async def test_last_event_id_header_has_precedence_over_the_older_query_parameter(
        self, server: Server, publish: ExternalPublisher
    ) -> None:
        async with await server.open() as stream:
            ids = []
            for n in range(3):
                publish("balance-sync", n=n)
                ids.append((await stream.until(lambda message: message.event == "status")).id)
        async with await server.open(
            f"/api/stream?since={ids[0]}", head=f"Last-Event-ID: {ids[1]}\r\n"
        ) as stream:
            status = await stream.until(lambda message: message.event == "status")
            assert status.data["status"] == {"n": 2}

    @pytest.mark.parametrize(
        "since", ["1-0", "99999999999999-7"], ids=["trimmed", "of another Redis"]
    )
    async def test_unknown_id_is_answered_with_a_reset_and_the_board(
        self, any_server: Server, publish: ExternalPublisher, since: str
    ) -> None:
        publish("balance-sync", n=1)
        await eventually(lambda: any_server.health()["instances"] == 1)
        async with await any_server.open(f"/api/stream?since={since}") as stream:
            reset, board = await stream.next(), await stream.next()
        assert (reset.event, board.event) == ("reset", "board")
        assert reset.data["reason"]
        assert board.data["instances"][0]["status"] == {"n": 1}

    async def test_client_that_reconnects_repeatedly_misses_no_event(
        self, server: Server, publish: ExternalPublisher
    ) -> None:
        seen: list[int] = []
        last: str | None = None

        async def publish_all() -> None:
            for n in range(300):
                await asyncio.to_thread(publish, "balance-sync", n=n)

        publishing: asyncio.Task[None] | None = None
        while len(seen) < 300:
            async with await server.open(
                head=f"Last-Event-ID: {last}\r\n" if last else ""
            ) as stream:
                publishing = publishing or asyncio.create_task(publish_all())
                for _ in range(12):
                    message = await stream.next()
                    assert message.event != "reset"
                    last = message.id
                    if message.event == "status":
                        seen.append(message.data["status"]["n"])
                        if len(seen) == 300:
                            break
        assert publishing is not None
        await publishing
        assert seen == list(range(300))


async def test_filters_select_services_and_kinds(
    server: Server, publish: ExternalPublisher
) -> None:
    async with await server.open("/api/stream?services=report,balance-sync&kinds=status") as stream:
        board = await stream.next()
        assert board.data["expect"] == ["balance-sync"]
        for n, name in enumerate(("account-discovery", "report", "other", "balance-sync")):
            publish(name, n=n)
        statuses = [await stream.until(lambda message: message.event == "status") for _ in range(2)]
        assert [status.data["service"] for status in statuses] == ["report", "balance-sync"]


async def test_invalid_query_is_answered_with_a_problem(server: Server) -> None:
    for query, code, named in (
        ("kinds=status,nonsense", "unknown-kind", "nonsense"),
        ("kinds=" + "x" * 5_000, "unknown-kind", "xxx"),
        ("services=Balance", "bad-name", "Balance"),
        ("services=logs", "bad-name", "logs"),
        ("service=report", "bad-parameter", "service"),
        ("level=info&level=error", "bad-parameter", "level"),
    ):
        answer = server.get(f"/api/stream?{query}")
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["code"]) == (400, 400, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert named in problem["detail"]
        assert len(answer.content) < 1_000


async def test_pipelined_requests_are_answered_in_order(
    server: Server, publish: ExternalPublisher
) -> None:
    """The stream used the state of the latest request on its connection and wrote no chunks."""
    paths = ("/api/services/status/stream", "/healthz")
    pipelined = "".join(f"Host: localhost\r\n\r\nGET {path} HTTP/1.1\r\n" for path in paths)
    async with await server.open("/healthz", head=pipelined) as stream:
        await stream.read_body()
        await stream.read_head()
        assert stream.headers["transfer-encoding"] == "chunked"
        assert "balanceSync" in (await stream.next()).data
        update = publish("balance-sync", n=1)
        assert (await stream.next()).data == update
    # The stream must notice the end of the connection, not only the request that waits behind it.
    await eventually(lambda: server.health()["clients"] == 0)


async def test_request_body_is_ignored(any_server: Server, publish: ExternalPublisher) -> None:
    async with await any_server.open(head="Content-Length: 300000\r\n") as stream:
        stream.send(b"x" * 300_000)
        await stream.next()
        publish("balance-sync", n=1)
        assert (await stream.until(lambda message: message.event == "status")).data["status"] == {
            "n": 1
        }
    await eventually(lambda: any_server.health()["clients"] == 0)


async def test_endless_request_head_is_rejected(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/stream HTTP/1.1\r\nX: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            writer.write(b"x" * 10_000)
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    assert server.health()["clients"] == 0
