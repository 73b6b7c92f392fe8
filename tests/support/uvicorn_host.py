"""uvicorn, as anybody starts it, with an application of hosts.py or of ours."""

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
"""Interpreters that import all this, several at once, on a machine that has other things to do."""
_STARTED = "Started server process"
"""Said by each worker once it takes signals as its own: before that SIGTERM finds uvicorn's parent waiting for its answer."""


class UvicornProcess:
    """A server on a free port, with a board below a prefix of it."""

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
            start_new_session=True,  # its workers do not end with it by themselves
        )

    @property
    def said(self) -> str:
        """What it has written to its standard error so far."""
        return Path(self._log.name).read_text("utf-8")

    def is_ready(self) -> bool:
        """Whether all its workers take signals, and the board of one sees Redis."""
        with contextlib.suppress(httpx.TransportError):
            return (
                self.said.count(_STARTED) >= self._workers
                and httpx.get(f"{self.url}/readyz").status_code == 200
            )
        return False

    async def wait(self) -> str:
        """Wait for its end; return what it said."""
        await asyncio.to_thread(self.process.wait, 20)
        return self.said

    async def stop(self, kind: signal.Signals = signal.SIGTERM) -> str:
        """Stop it, which must not take 3 s; return what it said."""
        started = time.monotonic()
        self.process.send_signal(kind)
        said = await self.wait()
        assert time.monotonic() - started < 3
        return said

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()
