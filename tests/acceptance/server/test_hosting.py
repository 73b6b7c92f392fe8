"""The board under other people's servers and in other people's applications: it serves there, and holds up nobody's end."""

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
from pulseboard.server import Pulseboard, Settings
from pulseboard.server.api.page import STATIC
from pulseboard.server.runtime import FIRST_BOARD_S, Runtime

ALONE = "pulseboard.server.asgi:app"
OUR_PROTOCOL = "pulseboard.server.streaming.uvicorn_protocol:StreamProtocol"


Run = Callable[..., UvicornProcess]


@pytest.fixture
def run(address: RedisAddress, namespace: str, prefix: str) -> Iterator[Run]:
    """Start hosts whose board reads this test's corner of Redis; they end with the test."""
    env = {
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": prefix,
        "PULSEBOARD_EXPECT": "a",
    }
    hosts: list[UvicornProcess] = []

    def start(app: str, *options: str, prefix: str = "/ops", **more: str) -> UvicornProcess:
        hosts.append(UvicornProcess(app, *options, env=env | more, prefix=prefix))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


async def open_streams(host: UvicornProcess) -> tuple[list[Stream], list[Stream]]:
    ours = [await Stream.open(host.port, f"{host.prefix}/api/stream") for _ in range(10)]
    seeds = [
        await Stream.open(host.port, f"{host.prefix}/api/services/status/stream") for _ in range(3)
    ]
    for stream in (*ours, *seeds):
        assert stream.status == 200
        await stream.next()
    return ours, seeds


async def check_ends(ours: list[Stream], seeds: list[Stream]) -> None:
    """Every stream ended in order, and was told when to come back."""
    for stream in ours:
        bye = (await stream.rest())[-1]
        assert bye.event == "bye"
        assert bye.retry is not None
    for stream in seeds:
        last = (await stream.rest())[-1]
        assert (last.event, last.data) == (None, None)
        assert last.retry is not None
    for stream in (*ours, *seeds):
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
async def test_open_streams_do_not_hold_up_the_end_of_somebody_elses_server(
    run: Run, kind: signal.Signals, options: tuple[str, ...]
) -> None:
    host = run(ALONE, *options, prefix="")
    await eventually(host.is_ready, within_s=START_S)
    streams = await open_streams(host)
    said = await host.stop(kind)
    await check_ends(*streams)
    assert "ERROR" not in said


async def test_options_that_are_wrong_are_one_line_in_the_servers_own_words(run: Run) -> None:
    host = run(ALONE, prefix="", PULSEBOARD_PING_S="often")
    said = await host.wait()
    assert host.process.returncode == 3
    (complaint,) = [line for line in said.splitlines() if "ping_s" in line]
    assert "pulseboard: ping_s: " in complaint
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "options",
    [("--http", OUR_PROTOCOL), ("--http", "httptools", "--timeout-graceful-shutdown", "1")],
    ids=["our-protocol", "httptools"],
)
async def test_neither_does_a_reader_that_takes_nothing(
    run: Run, raw: redis.Redis, prefix: str, options: tuple[str, ...]
) -> None:
    host = run(ALONE, *options, prefix="")
    await eventually(host.is_ready, within_s=START_S)
    with open_frozen(host.port), open_frozen(host.port, "/api/services/status/stream"):
        await eventually(lambda: httpx.get(f"{host.url}/healthz").json()["clients"] == 2)
        publish_large(raw, prefix, 150)  # more than the kernel's buffers hold
        await eventually(
            lambda: (
                httpx.get(f"{host.url}/api/services/status").json().get("balanceSync", {}).get("n")
                == 149
            )
        )
        said = await host.stop()
    assert "Traceback" not in said


@pytest.mark.parametrize("app", ["starlette_app", "with_lifespan", "litestar_app"])
async def test_all_of_it_works_below_a_prefix(
    run: Run, publish: ExternalPublisher, app: str
) -> None:
    host = run(f"tests.support.hosted_apps:{app}")
    await eventually(host.is_ready, within_s=START_S)
    async with httpx.AsyncClient(follow_redirects=True) as client:
        for path in ("", "/", "/services/"):
            assert str((await client.get(host.url + path)).url) == f"{host.url}/services"
        page = await client.get(f"{host.url}/services")
        assert page.status_code == 200
        if (STATIC / "index.html").is_file():
            loaded = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg))"', page.text)
            assert len(loaded) == 3
            for name in loaded:
                assert (await client.get(urljoin(str(page.url), name))).status_code == 200
        assert (await client.get(f"{host.url}/api/services/status")).json() == {"a": {}}
        assert (await client.get(f"{host.url}/schema/openapi.json")).status_code == 200
        missing = await client.get(f"{host.url}/nothing")
        assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    ours, seeds = await open_streams(host)
    update = publish("a", n=1)
    assert (await seeds[0].next()).data == update
    assert (await ours[0].until(lambda message: message.event == "status")).data["status"] == {
        "n": 1
    }
    said = await host.stop()
    await check_ends(ours, seeds)
    assert "ERROR" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_what_the_documentation_says_about_mounting_is_true(
    run: Run, tmp_path: Path, number: int
) -> None:
    examples = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL
    )
    assert len(examples) == 3
    (tmp_path / "example.py").write_text(examples[number])
    host = run("example:app", "--app-dir", str(tmp_path))
    await eventually(host.is_ready, within_s=START_S)
    streams = await open_streams(host)
    said = await host.stop()
    await check_ends(*streams)
    assert "ERROR" not in said


async def test_the_head_of_a_stream_comes_first_though_a_middleware_holds_it_back(run: Run) -> None:
    """Under our own protocol the first message was written past it, before the status line."""
    host = run("tests.support.hosted_apps:app_with_held_head", "--http", OUR_PROTOCOL)
    await eventually(host.is_ready, within_s=START_S)
    streams = await open_streams(host)
    await host.stop()
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


async def eventually_async(
    ask: Callable[[], Awaitable[httpx.Response]], holds: Callable[[httpx.Response], bool]
) -> None:
    async with asyncio.timeout(10):
        while not holds(await ask()):  # noqa: ASYNC110  (what it watches is no event)
            await asyncio.sleep(0.01)


async def test_many_first_requests_start_one_core(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Runtime] = []
    start = Runtime.start

    def note(runtime: Runtime) -> None:
        started.append(runtime)
        start(runtime)

    monkeypatch.setattr(Runtime, "start", note)
    board = Pulseboard(settings)
    async with client_of(board) as client:
        answers = await asyncio.gather(*(client.get("/api/services/status") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(started) == 1
        await board.aclose()
        assert started[0].hub.closing
        assert (await client.get("/api/services/status")).json()["code"] == "stopping"
    left = [
        task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("pulseboard")
    ]
    assert left == []


async def test_the_first_answer_is_not_an_empty_board(
    settings: Settings, publish: ExternalPublisher
) -> None:
    """A new worker, or one whose first request this was, told the old page that there were no services."""
    async with Pulseboard(settings) as first, client_of(first) as client:
        await eventually_async(
            lambda: client.get("/readyz"), lambda answer: answer.status_code == 200
        )
        publish("b", n=1)
        await eventually_async(
            lambda: client.get("/api/services/status"), lambda answer: "b" in answer.json()
        )
        second = Pulseboard(settings)
        async with client_of(second) as other:
            assert (await other.get("/api/services/status")).json() == {"a": {}, "b": {"n": 1}}
        await second.aclose()


async def test_a_redis_that_is_away_is_not_waited_for_long(settings: Settings) -> None:
    away = Settings.load(redis_url=f"redis://127.0.0.1:{free_port()}")
    async with Pulseboard(away) as board, client_of(board) as client:
        async with asyncio.timeout(FIRST_BOARD_S / 2):  # it was waited for once, at the start
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503


async def test_closing_what_never_started_is_no_error() -> None:
    await Pulseboard().aclose()


async def test_a_core_that_failed_answers_with_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Runtime) -> None:
        raise RuntimeError("of all things")

    monkeypatch.setattr(Runtime, "_declare_losses", fail)
    async with Pulseboard(settings) as board, client_of(board) as client:
        runtime = board._runtime
        assert runtime is not None
        await eventually(lambda: runtime.failed)
        for path in ("/services", "/api/stream", "/api/services/status", "/healthz"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "failed")
        assert runtime.hub.closing
    assert "of all things" in caplog.text


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Runtime, "_declare_losses"),
        (Hub, "run"),
        (Hub, "_tick"),
        (Ingestor, "run"),
        (Ingestor, "_hear"),
        (Ingestor, "_adopt_all"),
    ],
)
async def test_a_part_that_is_cancelled_by_nobody_is_a_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, part: type[object], name: str
) -> None:
    """A task group took it for an end in order, and the board stood still under a server that was ready."""

    async def stray(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(part, name, stray)
    async with Pulseboard(settings) as board:
        runtime = board._runtime
        assert runtime is not None
        await eventually(lambda: runtime.failed)


async def test_wrong_options_are_told_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSEBOARD_PING_S", "often")
    async with client_of(Pulseboard()) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not-configured")
    assert "ping_s" in answer.json()["detail"]


async def test_a_websocket_is_refused(settings: Settings) -> None:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    await Pulseboard(settings)({"type": "websocket", "path": "/"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_each_event_loop_of_a_process_can_have_a_board(settings: Settings) -> None:
    boards = [Pulseboard(settings) for _ in range(3)]
    together = threading.Barrier(3)
    seen: list[object] = []

    async def use(board: Pulseboard) -> None:
        async with client_of(board) as client:
            await asyncio.to_thread(together.wait, 10)
            seen.append((await client.get("/api/services/status")).json())
            await asyncio.to_thread(together.wait, 10)
            await board.aclose()

    threads = [threading.Thread(target=asyncio.run, args=(use(board),)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [{"a": {}}] * 3


def test_one_board_serves_one_loop_after_the_other_but_not_two_at_once(settings: Settings) -> None:
    board = Pulseboard(settings)

    async def ask() -> tuple[int, str]:
        async with client_of(board) as client:
            answer = await client.get("/healthz")
            return answer.status_code, answer.text

    async def ask_here_and_there() -> None:
        assert (await ask())[0] == 200
        code, said = await asyncio.to_thread(asyncio.run, ask())
        assert code == 503
        assert "make one Pulseboard() for each" in said

    asyncio.run(ask_here_and_there())
    assert asyncio.run(ask())[0] == 200
