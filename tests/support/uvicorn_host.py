"""A uvicorn process that serves a host application or our own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from tests.support.valkey import free_port

ROOT = Path(__file__).parents[2]


START_S = 40.0
"""Several interpreters may import the application at once on a busy machine."""
_STARTED = "Started server process"
"""Each worker logs this after it has installed its signal handlers.

A SIGTERM before that reaches a parent process that still waits for the answer of the worker.
"""


class UvicornProcess:
    """A server on a free port with a board below a path prefix."""

    def __init__(self, app: str, *options: str, env: dict[str, str], prefix: str) -> None:
        self.port = free_port()
        self.prefix = prefix
        self.url = f"http://127.0.0.1:{self.port}{prefix}"
        self._workers = (
            int(options[options.index("--workers") + 1]) if "--workers" in options else 1
        )
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed in close()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--port", str(self.port), *options],
            cwd=ROOT,
            env={**os.environ, **env},
            stderr=self._log,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # close() kills the group: workers outlive their parent
        )

    @property
    def log(self) -> str:
        """The standard error output so far."""
        return Path(self._log.name).read_text("utf-8")

    def is_ready(self) -> bool:
        """Return whether all workers handle signals and a board has a connection to Redis."""
        with contextlib.suppress(httpx.TransportError):
            return (
                self.log.count(_STARTED) >= self._workers
                and httpx.get(f"{self.url}/readyz").status_code == 200
            )
        return False

    async def wait(self) -> str:
        """Wait for the end of the process; return its standard error output."""
        await asyncio.to_thread(self.process.wait, 20)
        return self.log

    async def stop(self, kind: signal.Signals = signal.SIGTERM) -> str:
        """Stop the process, which must take less than 3 s; return its standard error output."""
        started = time.monotonic()
        self.process.send_signal(kind)
        output = await self.wait()
        assert time.monotonic() - started < 3
        return output

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()
