"""Exports: a complete time range as JSON Lines, and the mark of an incomplete export."""

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
import redis
from tests.support.server import ExternalPublisher, LogPublisher, ServeFixture, Server, eventually
from tests.support.valkey import run_valkey

from pulseboard.bus.keys import Keys

LARGE = "x" * 30_000


def lines_of(text: str) -> list[Any]:
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


async def test_history_is_exported_completely_with_the_oldest_event_first(
    server: Server, publish: ExternalPublisher
) -> None:
    for n in range(450):
        publish("balance-sync", n=n)
    path = "/api/services/balance-sync/history?format=jsonl"
    await eventually(lambda: server.get(path).text.count("\n") == 450)
    answer = server.get(path)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert (
        answer.headers["content-disposition"] == 'attachment; filename="balance-sync-history.jsonl"'
    )
    events = lines_of(answer.text)
    assert [event["status"]["n"] for event in events] == [*range(450)]
    assert (
        events[0] == server.get("/api/services/balance-sync/history?limit=450").json()["events"][0]
    )
    start, end = (event["id"].split("-")[0] for event in (events[100], events[300]))
    selected = lines_of(server.get(f"{path}&from={start}&to={end}").text)
    assert selected == [event for event in events if start <= event["id"].split("-")[0] <= end]


async def test_export_of_logs_applies_the_filters(
    server: Server, publish_log: LogPublisher
) -> None:
    for n in range(250):
        publish_log(f"line {n}", level="error" if n % 5 == 0 else "info")
    path = "/api/services/report/logs?format=jsonl&level=error&contains=LINE"
    await eventually(lambda: server.get(path).text.count("\n") == 50)
    assert [line["message"] for line in lines_of(server.get(path).text)] == [
        f"line {n}" for n in range(0, 250, 5)
    ]


async def test_logs_of_all_services_are_merged_in_order_of_arrival(
    server: Server, publish_log: LogPublisher
) -> None:
    for n in range(120):
        publish_log(f"{n}", service=f"service-{n % 3}" if n < 100 else "service-0")
    await eventually(lambda: len(server.get("/api/logs?limit=1000").json().get("lines", [])) == 120)
    exported = lines_of(server.get("/api/logs?format=jsonl").text)
    assert [line["message"] for line in exported] == [f"{n}" for n in range(120)]
    assert {line["service"] for line in exported} == {"service-0", "service-1", "service-2"}
    pages, before = [], ""
    while True:
        page = server.get(f"/api/logs?limit=50{before}").json()
        pages.append(page["lines"])
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert [line for page in reversed(pages) for line in page] == exported
    matching = lines_of(server.get("/api/logs?format=jsonl&contains=11").text)
    assert [line["message"] for line in matching] == ["11", *(f"{n}" for n in range(110, 120))]


@pytest.mark.parametrize(
    "query",
    [
        "format=csv",
        "format=",
        "format=jsonl&limit=5",
        "format=jsonl&before=1-0",
        "format=jsonl&from=x",
    ],
)
async def test_invalid_export_query_is_answered_with_a_problem(server: Server, query: str) -> None:
    for path in ("services/report/logs", "services/report/history", "logs"):
        answer = server.get(f"/api/{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (
            400,
            "bad-time" if "from" in query else "bad-parameter",
        )


async def test_head_request_for_an_export_has_no_body(
    server: Server, publish: ExternalPublisher
) -> None:
    publish("balance-sync", n=1)
    answer = server.request("HEAD", "/api/services/balance-sync/history?format=jsonl")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-ndjson"


class SlowDownload:
    """Downloads an export through a small buffer, so that the server is never far ahead."""

    def __init__(self, port: int, path: str) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._sock.connect(("127.0.0.1", port))
        self._sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._sock.settimeout(10)
        self.data = self._sock.recv(1_024)

    def rest(self) -> bytes:
        """Read until the connection ends, and return all data."""
        while data := self._sock.recv(1 << 20):
            self.data += data
        self._sock.close()
        return self.data


def write_large_history(
    raw: redis.Redis, keys: Keys, count: int, service: str = "balance-sync"
) -> None:
    """Write a history that is larger than the socket buffers."""
    for n in range(count):
        event = {"service": service, "timestamp": 1, "status": {"n": n, "text": LARGE}}
        raw.xadd(keys.history(service), {"kind": "status", "data": json.dumps(event)})


async def test_export_ends_with_a_problem_and_incomplete_when_redis_stops(
    serve: ServeFixture, keys: Keys
) -> None:
    with run_valkey() as valkey:
        server = serve(valkey.address)
        await eventually(server.is_ready)
        with redis.Redis(port=valkey.address.port) as raw:
            write_large_history(raw, keys, 600)
        path = "/api/services/balance-sync/history?format=jsonl"
        download = await asyncio.to_thread(SlowDownload, server.port, path)
        valkey.stop()
        data = await asyncio.to_thread(download.rest)
        assert not data.endswith(b"0\r\n\r\n")
        *_, last = [line for line in data.splitlines() if line.startswith(b"{")]
        assert json.loads(last)["code"] == "redis-unavailable"
        assert data.count(LARGE.encode()) < 600
        answer = server.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "redis-unavailable")


async def test_export_ends_with_a_problem_when_trimming_overtakes_it(
    server: Server, raw: redis.Redis, keys: Keys
) -> None:
    write_large_history(raw, keys, 600)
    download = await asyncio.to_thread(
        SlowDownload, server.port, "/api/services/balance-sync/history?format=jsonl"
    )
    raw.xtrim(keys.history("balance-sync"), maxlen=10, approximate=False)
    data = await asyncio.to_thread(download.rest)
    assert not data.endswith(b"0\r\n\r\n")
    *_, last = [line for line in data.splitlines() if line.startswith(b"{")]
    assert json.loads(last)["code"] == "overtaken"


async def test_http_client_raises_an_error_for_an_incomplete_export(
    server: Server, raw: redis.Redis, keys: Keys
) -> None:
    write_large_history(raw, keys, 600)
    url = f"http://127.0.0.1:{server.port}/api/services/balance-sync/history?format=jsonl"
    async with httpx.AsyncClient() as client, client.stream("GET", url) as answer:
        pieces = answer.aiter_bytes()
        await anext(pieces)
        raw.delete(keys.history("balance-sync"))
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in pieces:
                pass


async def test_stopping_server_ends_an_export_with_a_problem(
    serve: ServeFixture, address: Any, raw: redis.Redis, keys: Keys
) -> None:
    server = serve(address)
    await eventually(server.is_ready)
    write_large_history(raw, keys, 600)
    download = await asyncio.to_thread(
        SlowDownload, server.port, "/api/services/balance-sync/history?format=jsonl"
    )
    server.runtime.hub.close("the server is stopping")
    data = await asyncio.to_thread(download.rest)
    assert not data.endswith(b"0\r\n\r\n")
    *_, last = [line for line in data.splitlines() if line.startswith(b"{")]
    assert json.loads(last)["code"] == "stopping"
