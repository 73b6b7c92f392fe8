"""Redis, two servers, publishers and the recorder. Servers and publishers are processes.

All processes end with the program that started them.
"""

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
from typing import IO, Literal, NamedTuple, TypeAlias

from benchmarks._environment import free_port
from tests.support.topology import Cluster, Sentinel

from chaos.external import AcceptedBatch
from chaos.http import get
from chaos.recorder import FeedRecorder
from chaos.redis_servers import RedisServers, ReplicatedRedis, SingleValkey
from chaos.relay import Relay
from chaos.waiting import wait_until
from pulseboard.process import spawn

ROOT = Path(__file__).resolve().parent.parent
START_S = 30.0
PING_S = 1

Kind: TypeAlias = Literal["single", "relayed", "sentinel", "cluster"]
"""The kind of Redis: one Valkey; one Valkey with a relay to the first server; a master with three
sentinels; a cluster."""


class DeploymentFailed(Exception):
    """A process that the experiments need did not start; the message contains its log."""


class ManagedProcess:
    """A process that can be started, killed and started again."""

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
        """Start the process, with a wall clock that is wrong by `skew_s`."""
        skewed = ["chaos.skewed", str(skew_s)] if skew_s else []
        with self._log.open("ab") as log:
            self._process = spawn(
                [sys.executable, "-m", *skewed, *self._argv],
                env=clean_environment(),
                cwd=self._folder,
                stdout=stdout,
                stderr=log,
            )
        return self._process

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def read_log_end(self) -> str:
        """Return the last 2,000 characters of the log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2_000:]


def clean_environment() -> dict[str, str]:
    """Return an environment without options of the caller and without pytest's variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PULSEBOARD_", "REDIS_", "PYTEST_"))
    }
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}


class ServerProcess(ManagedProcess):
    """One process of `pulseboard serve`."""

    def __init__(self, url: str, folder: Path, name: str) -> None:
        self.port = free_port()
        argv = ["pulseboard", "serve", "--quiet", "--port", str(self.port), "--redis-url", url]
        super().__init__([*argv, "--ping-s", str(PING_S)], folder, name)

    async def wait_until_ready(self) -> None:
        """Wait until `/readyz` answers 200; raises DeploymentFailed."""
        if not await wait_until(self.is_ready, START_S):
            raise DeploymentFailed(f"a server did not become ready:\n{self.read_log_end()}")

    async def is_ready(self) -> bool:
        return (await get(self.port, "/readyz")).status == 200


class PublisherSettings(NamedTuple):
    """The options of a publishing process."""

    services: tuple[str, ...]
    rate: float
    external: bool = False
    """Publish external messages, without the SDK."""
    pad: int = 0
    """Bytes of padding in each event."""


class PublisherProcess(ManagedProcess):
    """A publishing process. `accepted` has the external messages that Redis accepted."""

    def __init__(self, url: str, folder: Path, name: str, settings: PublisherSettings) -> None:
        argv = ["chaos.publisher", "--url", url, "--rate", str(settings.rate)]
        argv += ["--services", ",".join(settings.services), "--pad", str(settings.pad)]
        super().__init__(argv + ["--external"] * settings.external, folder, name)
        self._external = settings.external
        self.accepted: list[AcceptedBatch] = []
        self._output_task: asyncio.Task[None] | None = None

    async def open(self, skew_s: float = 0) -> None:
        """Start the process, and read its output if it publishes external messages."""
        if not self._external:
            self.start(skew_s=skew_s)
            return
        await self._wait_for_output()
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb", 0) as output:
            self.start(output, skew_s)
        source = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(source), os.fdopen(read_end, "rb", 0)
        )
        self._output_task = asyncio.create_task(self._read_output(source))

    async def close(self) -> None:
        """Kill the process and read the rest of its output."""
        self.kill()
        await self._wait_for_output()

    async def _wait_for_output(self) -> None:
        if self._output_task is not None:
            await self._output_task

    async def _read_output(self, source: asyncio.StreamReader) -> None:
        while (line := await source.readline()).endswith(b"\n"):
            first, last, subscribers, began, ended = line.split()
            offset_ms = (time.time() - time.monotonic()) * 1000
            began_ms, ended_ms = (float(moment) * 1000 + offset_ms for moment in (began, ended))
            numbers = range(int(first), int(last) + 1)
            self.accepted.append(AcceptedBatch(numbers, began_ms, ended_ms, int(subscribers)))


class Deployment:
    """The processes into which faults are injected."""

    def __init__(
        self, redis: RedisServers, folder: Path, recorder: FeedRecorder, relay: Relay | None
    ) -> None:
        self.redis = redis
        self.folder = folder
        self.recorder = recorder
        self.relay = relay
        urls = [f"redis://127.0.0.1:{relay.port}" if relay is not None else redis.url, redis.url]
        self.servers = [ServerProcess(url, folder, f"server-{n}") for n, url in enumerate(urls)]
        self.publishers: list[PublisherProcess] = []
        self.rate = 0.0

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    @property
    def external(self) -> PublisherProcess:
        """The publisher of external messages."""
        return self.publishers[-1]

    def keep_logs(self, fault: str) -> Path:
        """Copy the logs of all processes to a new folder that stays, and return it."""
        kept = Path(tempfile.mkdtemp(prefix=f"pulseboard-chaos-{fault}-"))
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)
        return kept

    async def publish(self, rate: float) -> None:
        """Restart the publishers with a total rate, three quarters of it through the SDK."""
        await self.stop_publishers()
        self.rate = rate
        url, folder = self.redis.url, self.folder
        for name, services in (
            ("sdk-1", ("chaos-1", "chaos-2")),
            ("sdk-2", ("chaos-3", "chaos-4", "chaos-5")),
        ):
            settings = PublisherSettings(services, rate * 3 / 8)
            self.publishers.append(PublisherProcess(url, folder, name, settings))
        settings = PublisherSettings(("chaos-external",), rate / 4, external=True)
        url = self.redis.single_node_url
        self.publishers.append(PublisherProcess(url, folder, "external", settings))
        for publisher in self.publishers:
            await publisher.open()
        goal = len(self.recorder.ids) + rate / 2
        if not await wait_until(lambda: len(self.recorder.ids) > goal, START_S):
            raise DeploymentFailed(
                f"the publishers did not start publishing:\n{self.external.read_log_end()}"
            )

    async def stop_publishers(self) -> None:
        """Kill all publishers."""
        for publisher in self.publishers:
            await publisher.close()
        self.publishers = []

    async def measure_rate(self, seconds: float) -> float:
        """Return the number of events per second that the feed gets at this moment."""
        before = len(self.recorder.ids)
        await asyncio.sleep(seconds)
        return (len(self.recorder.ids) - before) / seconds


ReportProgress: TypeAlias = Callable[[str], None]


@asynccontextmanager
async def open_deployment(
    kind: Kind, rate: float, report_progress: ReportProgress
) -> AsyncIterator[Deployment]:
    """Run a deployment that publishes at `rate`, or at the rate that this machine sustains."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-chaos-")))
        redis, relay = await _start_redis(kind, folder, stack)
        recorder = stack.enter_context(FeedRecorder(redis.connect))
        deployment = Deployment(redis, folder, recorder, relay)
        for server in deployment.servers:
            stack.callback(server.kill)
            server.start()
        stack.push_async_callback(deployment.stop_publishers)
        await asyncio.gather(*(server.wait_until_ready() for server in deployment.servers))
        await _find_sustainable_rate(deployment, rate, report_progress)
        yield deployment


async def _start_redis(
    kind: Kind, folder: Path, stack: AsyncExitStack
) -> tuple[RedisServers, Relay | None]:
    if kind == "sentinel":
        return ReplicatedRedis(stack.enter_context(Sentinel())), None
    if kind == "cluster":
        return ReplicatedRedis(stack.enter_context(Cluster())), None
    valkey = await stack.enter_async_context(SingleValkey(folder))
    if kind == "single":
        return valkey, None
    return valkey, await stack.enter_async_context(Relay(valkey.port))


async def _find_sustainable_rate(
    deployment: Deployment, rate: float, report_progress: ReportProgress
) -> None:
    while True:
        await deployment.publish(rate)
        reached = await deployment.measure_rate(1.0)
        if reached >= 0.9 * rate:
            return
        rate = max(50.0, 0.8 * reached)
        report_progress(
            f"this machine sustains {reached:,.0f} events/s; continuing with {rate:,.0f}"
        )
