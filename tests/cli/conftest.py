"""The command as its user runs it: a program with arguments, an environment and a folder."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pulseboard.bus.address import RedisAddress

LIMIT_S = 20.0


class Program:
    """A running command; its output is kept as it comes."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, env: dict[str, str]) -> None:
        self._out = (folder / "stdout").open("w+b")
        self._err = (folder / "stderr").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pulseboard", *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "200", **env},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )

    @property
    def out(self) -> str:
        return _read(self._out)

    @property
    def err(self) -> str:
        return _read(self._err)

    @property
    def url(self) -> str:
        """Where the board is, once it is said."""
        until(lambda: "  board  " in self.out or self.process.poll() is not None, "no address was announced")
        assert "  board  " in self.out, self.err
        return self.out.split("  board  ")[1].split("\n")[0].removesuffix("/services")

    def wait(self, within_s: float = LIMIT_S) -> int:
        return self.process.wait(within_s)

    def stop(self, kind: signal.Signals = signal.SIGTERM, within_s: float = LIMIT_S) -> int:
        self.process.send_signal(kind)
        return self.wait(within_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._out.close()
        self._err.close()


def _read(file: Any) -> str:
    return os.pread(file.fileno(), 1 << 20, 0).decode()


def until(holds: Callable[[], object], what: str, within_s: float = LIMIT_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz").status_code == 200
    return False


Pulseboard = Callable[..., Program]


@pytest.fixture
def pulseboard(tmp_path: Path) -> Iterator[Pulseboard]:
    """Start `pulseboard` with these arguments; `env` is added to the environment. It ends with the test."""
    programs: list[Program] = []

    def start(*arguments: str, **env: str) -> Program:
        folder = tmp_path / f"run{len(programs)}" if programs else tmp_path
        folder.mkdir(exist_ok=True)
        programs.append(Program(arguments, folder, env))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


@pytest.fixture
def redis_env(address: RedisAddress, namespace: str, prefix: str) -> dict[str, str]:
    """The environment of a command that uses this test's corner of the session's Valkey."""
    return {
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": prefix,
    }
