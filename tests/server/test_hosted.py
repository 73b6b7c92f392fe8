"""The board under other people's servers and in other people's applications: it serves there, and holds up nobody's end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from tests.conftest import free_port
from tests.server.conftest import Publisher, Stream, eventually

from pulseboard.bus.address import RedisAddress
from pulseboard.server import Pulseboard, Settings
from pulseboard.server.app import STATIC
from pulseboard.server.core import Core

ROOT = Path(__file__).parents[2]
ALONE = "pulseboard.server.asgi:app"
OUR_PROTOCOL = "pulseboard.server.protocol:StreamProtocol"


class Host:
    """uvicorn, as anybody starts it, with an application on a free port."""

    def __init__(self, app: str, *options: str, env: dict[str, str], prefix: str) -> None:
        self.port = free_port()
        self.prefix = prefix
        self.url = f"http://127.0.0.1:{self.port}{prefix}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--port", str(self.port), *options],
            cwd=ROOT,
            env={**os.environ, **env},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz").status_code == 200
        return False

    async def stop(self, kind: signal.Signals = signal.SIGTERM) -> str:
        """Stop it, which must not take 3 s; return what it said."""
        started = time.monotonic()
        self.process.send_signal(kind)
        _, said = await asyncio.to_thread(self.process.communicate, timeout=20)
        assert time.monotonic() - started < 3
        return said

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        if self.process.stderr is not None:
            self.process.stderr.close()


Run = Callable[..., Host]


@pytest.fixture
def run(address: RedisAddress, namespace: str, prefix: str) -> Iterator[Run]:
    """Start hosts whose board reads this test's corner of Redis; they end with the test."""
    env = {
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": prefix,
        "PULSEBOARD_EXPECT": "a",
    }
    hosts: list[Host] = []

    def start(app: str, *options: str, prefix: str = "/ops", **more: str) -> Host:
        hosts.append(Host(app, *options, env=env | more, prefix=prefix))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


async def open_streams(host: Host) -> tuple[list[Stream], list[Stream]]:
    ours = [await Stream.open(host.port, f"{host.prefix}/api/stream") for _ in range(10)]
    seeds = [await Stream.open(host.port, f"{host.prefix}/api/services/status/stream") for _ in range(3)]
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


@pytest.mark.parametrize(
    "options",
    [
        ("--http", "httptools", "--loop", "uvloop", "--lifespan", "on"),
        ("--http", "h11", "--loop", "asyncio", "--lifespan", "on"),
        ("--http", OUR_PROTOCOL, "--lifespan", "off"),
        ("--workers", "2"),
    ],
    ids=["httptools", "h11", "our-protocol", "workers"],
)
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
async def test_open_streams_do_not_hold_up_the_end_of_somebody_elses_server(
    run: Run, options: tuple[str, ...], kind: signal.Signals
) -> None:
    host = run(ALONE, *options, prefix="")
    await eventually(host.is_ready)
    streams = await open_streams(host)
    said = await host.stop(kind)
    await check_ends(*streams)
    assert "ERROR" not in said


async def test_options_that_are_wrong_are_one_line_in_the_servers_own_words(run: Run) -> None:
    host = run(ALONE, prefix="", PULSEBOARD_PING_S="often")
    _, said = await asyncio.to_thread(host.process.communicate, timeout=20)
    assert host.process.returncode == 3
    (complaint,) = [line for line in said.splitlines() if "ping_s" in line]
    assert "pulseboard: ping_s: " in complaint
    assert "Traceback" not in said


@pytest.mark.parametrize("app", ["starlette", "with_lifespan", "litestar"])
async def test_all_of_it_works_below_a_prefix(run: Run, publish: Publisher, app: str) -> None:
    host = run(f"tests.server.hosts:{app}")
    await eventually(host.is_ready)
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
    assert (await ours[0].until(lambda message: message.event == "status")).data["status"] == {"n": 1}
    said = await host.stop()
    await check_ends(ours, seeds)
    assert "ERROR" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_what_the_documentation_says_about_mounting_is_true(run: Run, tmp_path: Path, number: int) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    (tmp_path / "example.py").write_text(examples[number])
    host = run("example:app", "--app-dir", str(tmp_path))
    await eventually(host.is_ready)
    streams = await open_streams(host)
    said = await host.stop()
    await check_ends(*streams)
    assert "ERROR" not in said


async def test_the_head_of_a_stream_comes_first_though_a_middleware_holds_it_back(run: Run) -> None:
    """Under our own protocol the first message was written past it, before the status line."""
    host = run("tests.server.hosts:buffering", "--http", OUR_PROTOCOL)
    await eventually(host.is_ready)
    streams = await open_streams(host)
    await host.stop()
    await check_ends(*streams)


@pytest.fixture
def settings(address: RedisAddress, namespace: str, prefix: str) -> Settings:
    return Settings.load(redis_url=address.url, namespace=namespace, channel_prefix=prefix, expect=("a",))


@contextlib.asynccontextmanager
async def client_of(board: Pulseboard) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(board), base_url="http://host") as client:
        yield client


async def test_many_first_requests_start_one_core(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Core] = []
    start = Core.start

    def note(core: Core) -> None:
        started.append(core)
        start(core)

    monkeypatch.setattr(Core, "start", note)
    board = Pulseboard(settings)
    async with client_of(board) as client:
        answers = await asyncio.gather(*(client.get("/api/services/status") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(started) == 1
        await board.aclose()
        assert started[0].hub.closing
        assert (await client.get("/api/services/status")).json()["code"] == "stopping"
    left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("pulseboard")]
    assert left == []


async def test_closing_what_never_started_is_no_error() -> None:
    await Pulseboard().aclose()


async def test_a_core_that_failed_answers_with_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Core) -> None:
        raise RuntimeError("of all things")

    monkeypatch.setattr(Core, "_forget", fail)
    async with Pulseboard(settings) as board, client_of(board) as client:
        core = board._core
        assert core is not None
        await eventually(lambda: core.failed)
        for path in ("/services", "/api/stream", "/api/services/status", "/healthz"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "failed")
        assert core.hub.closing
    assert "of all things" in caplog.text


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
