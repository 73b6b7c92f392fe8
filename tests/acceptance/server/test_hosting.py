"""The board on other ASGI servers and in host applications: it works and delays no shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
import redis
from tests.support.server import ExternalPublisher, Stream, eventually, open_frozen, publish_large
from tests.support.uvicorn_host import ROOT, START_S, UvicornProcess
from tests.support.valkey import free_port

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.hub.hub import Hub
from pulseboard.hub.ticker import Ticker
from pulseboard.server import Pulseboard, Settings
from pulseboard.server.api.page import STATIC
from pulseboard.server.runtime import FIRST_BOARD_S, Runtime

ALONE = "pulseboard.server.asgi:app"
OUR_PROTOCOL = "pulseboard.server.streaming.uvicorn_protocol:StreamProtocol"


Run = Callable[..., UvicornProcess]


@pytest.fixture
def run(address: RedisAddress, namespace: str, prefix: str) -> Iterator[Run]:
    """Start uvicorn processes whose board uses the namespace of the test."""
    env = {
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": prefix,
        "PULSEBOARD_EXPECT": "a",
    }
    processes: list[UvicornProcess] = []

    def start(app: str, *options: str, prefix: str = "/ops", **more: str) -> UvicornProcess:
        processes.append(UvicornProcess(app, *options, env=env | more, prefix=prefix))
        return processes[-1]

    yield start
    for uvicorn in processes:
        uvicorn.close()


async def open_streams(uvicorn: UvicornProcess) -> tuple[list[Stream], list[Stream]]:
    event_streams = [
        await Stream.open(uvicorn.port, f"{uvicorn.prefix}/api/stream") for _ in range(10)
    ]
    status_streams = [
        await Stream.open(uvicorn.port, f"{uvicorn.prefix}/api/services/status/stream")
        for _ in range(3)
    ]
    for stream in (*event_streams, *status_streams):
        assert stream.status == 200
        await stream.next()
    return event_streams, status_streams


async def check_ends(event_streams: list[Stream], status_streams: list[Stream]) -> None:
    """Check that every stream ended gracefully with a reconnection delay."""
    for stream in event_streams:
        bye = (await stream.rest())[-1]
        assert bye.event == "bye"
        assert bye.retry is not None
    for stream in status_streams:
        last = (await stream.rest())[-1]
        assert (last.event, last.data) == (None, None)
        assert last.retry is not None
    for stream in (*event_streams, *status_streams):
        stream.close()


TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param(
            TERM, ("--http", "httptools", "--loop", "uvloop", "--lifespan", "on"), id="httptools"
        ),
        pytest.param(INT, ("--http", "h11", "--loop", "asyncio", "--lifespan", "on"), id="h11"),
        pytest.param(INT, ("--http", OUR_PROTOCOL, "--lifespan", "off"), id="our-protocol"),
        pytest.param(TERM, ("--workers", "2"), id="workers"),
    ],
)
async def test_open_streams_do_not_delay_the_shutdown_of_another_server(
    run: Run, kind: signal.Signals, options: tuple[str, ...]
) -> None:
    uvicorn = run(ALONE, *options, prefix="")
    await eventually(uvicorn.is_ready, within_s=START_S)
    streams = await open_streams(uvicorn)
    output = await uvicorn.stop(kind)
    await check_ends(*streams)
    assert "ERROR" not in output


async def test_wrong_option_is_logged_in_one_line(run: Run) -> None:
    uvicorn = run(ALONE, prefix="", PULSEBOARD_PING_S="often")
    output = await uvicorn.wait()
    assert uvicorn.process.returncode == 3
    (logged,) = [line for line in output.splitlines() if "ping_s" in line]
    assert "pulseboard: ping_s: " in logged
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "options",
    [("--http", OUR_PROTOCOL), ("--http", "httptools", "--timeout-graceful-shutdown", "1")],
    ids=["our-protocol", "httptools"],
)
async def test_client_that_reads_nothing_does_not_delay_the_shutdown(
    run: Run, raw: redis.Redis, prefix: str, options: tuple[str, ...]
) -> None:
    uvicorn = run(ALONE, *options, prefix="")
    await eventually(uvicorn.is_ready, within_s=START_S)
    with (
        open_frozen(uvicorn.port),
        open_frozen(uvicorn.port, "/api/services/status/stream"),
    ):
        await eventually(lambda: httpx.get(f"{uvicorn.url}/healthz").json()["clients"] == 2)
        publish_large(raw, prefix, 150)  # more than the buffers of the kernel hold
        await eventually(
            lambda: (
                httpx.get(f"{uvicorn.url}/api/services/status")
                .json()
                .get("balanceSync", {})
                .get("n")
                == 149
            )
        )
        output = await uvicorn.stop()
    assert "Traceback" not in output


@pytest.mark.parametrize("app", ["starlette_app", "with_lifespan", "litestar_app"])
async def test_page_api_and_streams_work_below_a_prefix(
    run: Run, publish: ExternalPublisher, app: str
) -> None:
    uvicorn = run(f"tests.support.hosted_apps:{app}")
    await eventually(uvicorn.is_ready, within_s=START_S)
    async with httpx.AsyncClient(follow_redirects=True) as client:
        for path in ("", "/", "/services/"):
            assert str((await client.get(uvicorn.url + path)).url) == f"{uvicorn.url}/services"
        page = await client.get(f"{uvicorn.url}/services")
        assert page.status_code == 200
        if (STATIC / "index.html").is_file():
            loaded = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg))"', page.text)
            assert len(loaded) == 3
            for name in loaded:
                assert (await client.get(urljoin(str(page.url), name))).status_code == 200
        assert (await client.get(f"{uvicorn.url}/api/services/status")).json() == {"a": {}}
        assert (await client.get(f"{uvicorn.url}/schema/openapi.json")).status_code == 200
        missing = await client.get(f"{uvicorn.url}/nothing")
        assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    event_streams, status_streams = await open_streams(uvicorn)
    update = publish("a", n=1)
    assert (await status_streams[0].next()).data == update
    assert (await event_streams[0].until(lambda message: message.event == "status")).data[
        "status"
    ] == {"n": 1}
    output = await uvicorn.stop()
    await check_ends(event_streams, status_streams)
    assert "ERROR" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_documented_examples_of_mounting_work(run: Run, tmp_path: Path, number: int) -> None:
    examples = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL
    )
    assert len(examples) == 3
    (tmp_path / "example.py").write_text(examples[number])
    uvicorn = run("example:app", "--app-dir", str(tmp_path))
    await eventually(uvicorn.is_ready, within_s=START_S)
    streams = await open_streams(uvicorn)
    output = await uvicorn.stop()
    await check_ends(*streams)
    assert "ERROR" not in output


async def test_head_of_a_stream_comes_first_when_a_middleware_holds_it_back(run: Run) -> None:
    """Our protocol wrote the first message before the status line, past the middleware."""
    uvicorn = run("tests.support.hosted_apps:app_with_held_head", "--http", OUR_PROTOCOL)
    await eventually(uvicorn.is_ready, within_s=START_S)
    streams = await open_streams(uvicorn)
    await uvicorn.stop()
    await check_ends(*streams)


@pytest.fixture
def settings(address: RedisAddress, namespace: str, prefix: str) -> Settings:
    return Settings.load(
        redis_url=address.url, namespace=namespace, channel_prefix=prefix, expect=("a",)
    )


@contextlib.asynccontextmanager
async def client_of(board: Pulseboard) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(board), base_url="http://host"
    ) as client:
        yield client


async def wait_for_response(
    request: Callable[[], Awaitable[httpx.Response]], condition: Callable[[httpx.Response], bool]
) -> None:
    async with asyncio.timeout(10):
        while not condition(await request()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_concurrent_first_requests_start_one_runtime(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Runtime] = []
    start = Runtime.start

    def record_start(runtime: Runtime) -> None:
        started.append(runtime)
        start(runtime)

    monkeypatch.setattr(Runtime, "start", record_start)
    board = Pulseboard(settings)
    async with client_of(board) as client:
        responses = await asyncio.gather(*(client.get("/api/services/status") for _ in range(20)))
        assert {response.status_code for response in responses} == {200}
        assert len(started) == 1
        await board.aclose()
        assert started[0].hub.closing
        assert (await client.get("/api/services/status")).json()["code"] == "stopping"
    left = [
        task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("pulseboard")
    ]
    assert left == []


async def test_first_response_contains_the_board(
    settings: Settings, publish: ExternalPublisher
) -> None:
    """The first response of a new worker was an empty board: the page showed no services."""
    async with Pulseboard(settings) as first, client_of(first) as client:
        await wait_for_response(
            lambda: client.get("/readyz"), lambda response: response.status_code == 200
        )
        publish("b", n=1)
        await wait_for_response(
            lambda: client.get("/api/services/status"), lambda response: "b" in response.json()
        )
        second = Pulseboard(settings)
        async with client_of(second) as other:
            assert (await other.get("/api/services/status")).json() == {"a": {}, "b": {"n": 1}}
        await second.aclose()


async def test_unavailable_redis_does_not_delay_responses(settings: Settings) -> None:
    away = Settings.load(redis_url=f"redis://127.0.0.1:{free_port()}")
    async with Pulseboard(away) as board, client_of(board) as client:
        async with asyncio.timeout(FIRST_BOARD_S / 2):  # the start has already waited once
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503


async def test_closing_a_board_that_never_started_is_no_error() -> None:
    await Pulseboard().aclose()


async def test_failed_runtime_answers_503(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Runtime) -> None:
        raise RuntimeError("a test failure")

    monkeypatch.setattr(Runtime, "_declare_losses", fail)
    async with Pulseboard(settings) as board, client_of(board) as client:
        runtime = board._runtime
        assert runtime is not None
        await eventually(lambda: runtime.failed)
        for path in ("/services", "/api/stream", "/api/services/status", "/healthz"):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "failed")
        assert runtime.hub.closing
    assert "a test failure" in caplog.text


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Runtime, "_declare_losses"),
        (Hub, "run"),
        (Ticker, "run"),
        (Ingestor, "run"),
        (Ingestor, "_receive"),
        (Ingestor, "_ingest"),
    ],
)
async def test_unexpected_cancellation_of_a_task_is_a_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, part: type[object], name: str
) -> None:
    """A task group treated it as a regular end: the server stayed ready with a frozen board."""

    async def cancel_itself(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(part, name, cancel_itself)
    async with Pulseboard(settings) as board:
        runtime = board._runtime
        assert runtime is not None
        await eventually(lambda: runtime.failed)


async def test_wrong_option_is_reported_in_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSEBOARD_PING_S", "often")
    async with client_of(Pulseboard()) as client:
        response = await client.get("/healthz")
    assert (response.status_code, response.json()["code"]) == (503, "not-configured")
    assert "ping_s" in response.json()["detail"]


async def test_websocket_is_refused(settings: Settings) -> None:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    await Pulseboard(settings)({"type": "websocket", "path": "/"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_each_event_loop_of_a_process_can_have_its_own_board(settings: Settings) -> None:
    boards = [Pulseboard(settings) for _ in range(3)]
    all_running = threading.Barrier(3)
    statuses: list[object] = []

    async def use(board: Pulseboard) -> None:
        async with client_of(board) as client:
            await asyncio.to_thread(all_running.wait, 10)
            statuses.append((await client.get("/api/services/status")).json())
            await asyncio.to_thread(all_running.wait, 10)
            await board.aclose()

    threads = [threading.Thread(target=asyncio.run, args=(use(board),)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert statuses == [{"a": {}}] * 3


def test_board_serves_event_loops_in_turn_and_refuses_two_at_once(settings: Settings) -> None:
    board = Pulseboard(settings)

    async def request_health() -> tuple[int, str]:
        async with client_of(board) as client:
            response = await client.get("/healthz")
            return response.status_code, response.text

    async def request_from_two_loops() -> None:
        assert (await request_health())[0] == 200
        code, output = await asyncio.to_thread(asyncio.run, request_health())
        assert code == 503
        assert "make one Pulseboard() for each" in output

    asyncio.run(request_from_two_loops())
    assert asyncio.run(request_health())[0] == 200
