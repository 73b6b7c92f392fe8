"""uvicorn, as anybody starts it, with an application of hosts.py or of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]


class Host:
    """A server on a free port, with a board below a prefix of it."""

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
