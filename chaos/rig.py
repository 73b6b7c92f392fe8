"""The rig: Redis, two servers, publishers and the recorder, each publisher and server a process of its own, all gone with us."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Literal, TypeAlias

from benchmarks._rig import free_port
from tests.support.topology import Cluster, Sentinel

from chaos.http import get
from chaos.link import Link
from chaos.plain import Taken
from chaos.recorder import Recorder
from chaos.store import Replicas, Store, Valkey
from chaos.waiting import wait_until
from pulseboard.process import spawn

ROOT = Path(__file__).resolve().parent.parent
START_S = 30.0
PING_S = 1

Kind: TypeAlias = Literal["alone", "linked", "sentinel", "cluster"]
"""How Redis is run: one, one whose link to the first server can be frozen, or several of which one is master."""


class RigFailed(Exception):
    """What the faults need could not be started; the message says what and why."""


class Program:
    """One process of the rig: started, killed, started again."""

    def __init__(self, argv: list[str], folder: Path, name: str) -> None:
        self._argv = argv
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(
        self, stdout: int | IO[bytes] = subprocess.DEVNULL, skew_s: float = 0
    ) -> subprocess.Popen[bytes]:
        """Start it, with a wall clock that is wrong by `skew_s`."""
        skewed = ["chaos.skewed", str(skew_s)] if skew_s else []
        with self._log.open("ab") as log:
            self._process = spawn(
                [sys.executable, "-m", *skewed, *self._argv],
                env=environment(),
                cwd=self._folder,
                stdout=stdout,
                stderr=log,
            )
        return self._process

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the end of what it logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2_000:]


def environment() -> dict[str, str]:
    """Return an environment without any option of whoever runs this; and what we start is under no test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PULSEBOARD_", "REDIS_", "PYTEST_"))
    }
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}


class Server(Program):
    """One `pulseboard serve`."""

    def __init__(self, url: str, folder: Path, name: str) -> None:
        self.port = free_port()
        argv = [
            "pulseboard",
            "serve",
            "--quiet",
            "--port",
            str(self.port),
            "--redis-url",
            url,
            "--ping-s",
            str(PING_S),
        ]
        super().__init__(argv, folder, name)

    async def ready(self) -> None:
        """Wait until it says that its board can be relied upon."""
        if not await wait_until(self.is_ready, START_S):
            raise RigFailed(f"a server did not become ready:\n{self.last_words()}")

    async def is_ready(self) -> bool:
        return (await get(self.port, "/readyz")).status == 200


class Publisher(Program):
    """One publishing process. Of a plain one it is known which numbers Redis took while a server was subscribed."""

    def __init__(
        self,
        url: str,
        folder: Path,
        name: str,
        services: list[str],
        rate: float,
        *,
        plain: bool,
        pad: int = 0,
    ) -> None:
        argv = [
            "chaos.publisher",
            "--url",
            url,
            "--rate",
            str(rate),
            "--services",
            ",".join(services),
            "--pad",
            str(pad),
        ]
        super().__init__(argv + ["--plain"] * plain, folder, name)
        self._plain = plain
        self.taken: list[Taken] = []
        self._listening: asyncio.Task[None] | None = None

    async def open(self, skew_s: float = 0) -> None:
        """Start it, and listen to what it says."""
        if not self._plain:
            self.start(skew_s=skew_s)
            return
        await self._hear_out()
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb", 0) as its_output:
            self.start(its_output, skew_s)
        source = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(source), os.fdopen(read_end, "rb", 0)
        )
        self._listening = asyncio.create_task(self._listen(source))

    async def close(self) -> None:
        """End it, and take in the last that it said."""
        self.kill()
        await self._hear_out()

    async def _hear_out(self) -> None:
        if self._listening is not None:
            await self._listening

    async def _listen(self, source: asyncio.StreamReader) -> None:
        while (line := await source.readline()).endswith(b"\n"):
            first, last, hearers, began, ended = line.split()
            ahead_ms = (time.time() - time.monotonic()) * 1000
            began_ms, ended_ms = (float(moment) * 1000 + ahead_ms for moment in (began, ended))
            self.taken.append(
                Taken(range(int(first), int(last) + 1), began_ms, ended_ms, int(hearers))
            )


class Rig:
    """What faults happen to."""

    def __init__(self, store: Store, folder: Path, recorder: Recorder, link: Link | None) -> None:
        self.store = store
        self.folder = folder
        self.recorder = recorder
        self.link = link
        urls = [f"redis://127.0.0.1:{link.port}" if link is not None else store.url, store.url]
        self.servers = [Server(url, folder, f"server-{n}") for n, url in enumerate(urls)]
        self.publishers: list[Publisher] = []
        self.rate = 0.0

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    @property
    def plain(self) -> Publisher:
        """The publisher that does without the SDK."""
        return self.publishers[-1]

    def keep_logs(self, row: str) -> Path:
        """Copy the logs of all processes to a new folder, which nobody removes, and return it."""
        kept = Path(tempfile.mkdtemp(prefix=f"pulseboard-chaos-{row}-"))
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)
        return kept

    async def publish(self, rate: float) -> None:
        """Publish so many events a second in total, three quarters of them by the SDK, instead of what was published."""
        await self.quiet()
        self.rate = rate
        shares = [("sdk-1", ["chaos-1", "chaos-2"]), ("sdk-2", ["chaos-3", "chaos-4", "chaos-5"])]
        url, folder = self.store.url, self.folder
        self.publishers = [
            Publisher(url, folder, *share, rate * 3 / 8, plain=False) for share in shares
        ]
        self.publishers.append(
            Publisher(self.store.plain_url, folder, "plain", ["chaos-plain"], rate / 4, plain=True)
        )
        for publisher in self.publishers:
            await publisher.open()
        going = len(self.recorder.ids) + rate / 2
        if not await wait_until(lambda: len(self.recorder.ids) > going, START_S):
            raise RigFailed(f"the publishers did not get going:\n{self.plain.last_words()}")

    async def quiet(self) -> None:
        """End all publishers."""
        for publisher in self.publishers:
            await publisher.close()
        self.publishers = []

    async def measure_rate(self, seconds: float) -> float:
        """Return how many events a second the feed takes at the moment."""
        before = len(self.recorder.ids)
        await asyncio.sleep(seconds)
        return (len(self.recorder.ids) - before) / seconds


Progress = Callable[[str], None]


@asynccontextmanager
async def rig(kind: Kind, rate: float, say: Progress) -> AsyncIterator[Rig]:
    """Run a rig, publishing as much of `rate` as this machine carries."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-chaos-")))
        store, link = await _provide(kind, folder, stack)
        recorder = stack.enter_context(Recorder(store.connect))
        made = Rig(store, folder, recorder, link)
        for server in made.servers:
            stack.callback(server.kill)
            server.start()
        stack.push_async_callback(made.quiet)
        await asyncio.gather(*(server.ready() for server in made.servers))
        await _find_rate(made, rate, say)
        yield made


async def _provide(kind: Kind, folder: Path, stack: AsyncExitStack) -> tuple[Store, Link | None]:
    if kind == "sentinel":
        return Replicas(stack.enter_context(Sentinel())), None
    if kind == "cluster":
        return Replicas(stack.enter_context(Cluster())), None
    valkey = await stack.enter_async_context(Valkey(folder))
    return valkey, await stack.enter_async_context(Link(valkey.port)) if kind == "linked" else None


async def _find_rate(made: Rig, rate: float, say: Progress) -> None:
    while True:
        await made.publish(rate)
        reached = await made.measure_rate(1.0)
        if reached >= 0.9 * rate:
            return
        rate = max(50.0, 0.8 * reached)
        say(f"this machine carries {reached:,.0f} events/s, so it goes on with {rate:,.0f}")
