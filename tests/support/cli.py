"""The `pulseboard` command as a user runs it, with arguments, an environment and a folder."""

import contextlib
import fcntl
import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import redis
from tests.support.server import Server

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.cli.app import run
from pulseboard.server.settings import Settings

LIMIT_S = 20.0


class Program:
    """A running command, whose output is recorded."""

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
        """The address of the board, once the server has printed it."""
        until(
            lambda: "  board  " in self.out or self.process.poll() is not None,
            "the server printed no address",
        )
        assert "  board  " in self.out, self.err
        return self.out.split("  board  ")[1].split("\n")[0].removesuffix("/services")

    def wait(self, within_s: float = LIMIT_S) -> int:
        return self.process.wait(within_s)

    def stop(self, kind: signal.Signals = signal.SIGTERM, within_s: float = LIMIT_S) -> int:
        self.process.send_signal(kind)
        return self.wait(within_s)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.kill()
        self._out.close()
        self._err.close()


def _read(file: Any) -> str:
    return os.pread(file.fileno(), 1 << 26, 0).decode()


def until(condition: Callable[[], object], failure: str, within_s: float = LIMIT_S) -> None:
    """Wait until a condition holds; fail with this message after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.02)


class CommandResult(NamedTuple):
    """The exit code and the output of a command that ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class ServedBoard:
    """A board with a server, programs that publish to it, and commands that read it."""

    def __init__(
        self,
        url: str,
        start: "Pulseboard",
        env: dict[str, str],
        raw: redis.Redis,
        program: Program | None = None,
    ) -> None:
        self.url = url
        self._program = program
        self._start = start
        self._env = env
        self._commands: list[Program] = []
        self._raw = raw

    @property
    def program(self) -> Program:
        """The server, if it is a separate process."""
        assert self._program is not None, "use the fixture `stoppable_server`"
        return self._program

    def serve(self, *arguments: str) -> None:
        """Start the server again at its address, after it ended."""
        port = self.url.rpartition(":")[2]
        self._program = self._start(
            "serve", "--port", port, "--expect", "balance-sync", *arguments, **self._env
        )
        until(lambda: is_ready(self.url), "the server did not become ready again")

    def publish(
        self, service: str, instance: str = "", status: dict[str, Any] | None = None, **more: Any
    ) -> None:
        event = {
            "service": service,
            "timestamp": 1,
            "status": status or {},
            "instance": instance,
        } | more
        self._raw.publish(f"{self._env['PULSEBOARD_CHANNEL_PREFIX']}{service}", json.dumps(event))

    def publish_log(self, service: str, message: str, **more: Any) -> None:
        line = {"service": service, "message": message, "timestamp": 1_795_000_000_123} | more
        self._raw.publish(f"{self._env['PULSEBOARD_CHANNEL_PREFIX']}logs", json.dumps(line))

    def service(self, name: str, **options: Any) -> Service:
        """Return a service in the process of the test, not started yet."""
        return Service(
            name,
            redis_url=self._env["REDIS_URL"],
            namespace=self._env["PULSEBOARD_NAMESPACE"],
            channel_prefix=self._env["PULSEBOARD_CHANNEL_PREFIX"],
            **options,
        )

    def read(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}").json()

    def start(self, *arguments: str) -> Program:
        """Start a command that connects to this board."""
        program = self._start(*arguments, PULSEBOARD_SERVER=self.url)
        self._commands.append(program)
        return program

    def kill_commands(self) -> None:
        """Kill the commands that still run, so that no stream keeps the server from ending."""
        for command in self._commands:
            command.kill()

    def run_command(self, *arguments: str) -> CommandResult:
        """Run a command that connects to this board, and wait for its end."""
        program = self.start(*arguments)
        return CommandResult(program.wait(), program.out, program.err)

    def run_in_terminal(self, *arguments: str, width: int = 100, height: int = 30) -> str:
        """Run a command in a terminal and return all its output."""
        with Terminal(arguments, self.url, width, height) as terminal:
            return terminal.rest()


class Terminal:
    """A command that runs in its own pseudo-terminal."""

    def __init__(self, arguments: Sequence[str], url: str, width: int, height: int) -> None:
        self._fd, command_fd = pty.openpty()
        fcntl.ioctl(command_fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pulseboard", *arguments],
            env=env | {"TERM": "xterm-256color", "PULSEBOARD_SERVER": url},
            stdin=command_fd,
            stdout=command_fd,
            stderr=command_fd,
            start_new_session=True,
        )
        os.close(command_fd)
        os.set_blocking(self._fd, False)
        self.shown = ""

    def until(self, text: str) -> None:
        """Wait until the command has shown a text."""
        until(lambda: text in self._read(), f"{text!r} was not shown")

    def rest(self) -> str:
        """Wait for the end of the command and return all its output."""
        until(
            lambda: self._read() is not None and self.process.poll() is not None,
            "the command did not end",
        )
        return self._read()

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # the command has ended, or has written nothing more
            while data := os.read(self._fd, 65_536):
                self.shown += data.decode("utf-8", "replace")
        return self.shown

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._fd)


def is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz").status_code == 200
    return False


def reserved_port() -> int:
    """Return a free port that stays free while its server restarts.

    It is below the range that the kernel assigns to outgoing connections (ip(7)).
    """
    while True:
        with socket.socket() as sock, contextlib.suppress(OSError):
            port = random.randint(20_000, 32_000)
            sock.bind(("127.0.0.1", port))
            return port


Pulseboard = Callable[..., Program]


@pytest.fixture
def pulseboard(tmp_path: Path) -> Iterator[Pulseboard]:
    """Start `pulseboard` with arguments and more environment variables; it ends with the test."""
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
    """Return the environment of a command that uses the namespace of the test."""
    return {
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": prefix,
    }


@pytest.fixture
def stoppable_server() -> None:
    """Run the server of the board as a separate process, which the test can stop."""


@pytest.fixture
def board(
    pulseboard: Pulseboard,
    redis_env: dict[str, str],
    raw: redis.Redis,
    request: pytest.FixtureRequest,
) -> Iterator[ServedBoard]:
    """Serve a board that is ready and expects `balance-sync`.

    Its server runs in this process, because a separate process takes a second to start.
    """
    if "stoppable_server" in request.fixturenames:
        program = pulseboard(
            "serve", "--port", str(reserved_port()), "--expect", "balance-sync", **redis_env
        )
        until(lambda: is_ready(program.url), "the server did not become ready")
        yield ServedBoard(program.url, pulseboard, redis_env, raw, program)
        return
    settings = Settings.load(
        redis_url=redis_env["REDIS_URL"],
        namespace=redis_env["PULSEBOARD_NAMESPACE"],
        channel_prefix=redis_env["PULSEBOARD_CHANNEL_PREFIX"],
        expect=("balance-sync",),
    )
    with Server(settings) as server:
        until(server.is_ready, "the server did not become ready")
        served = ServedBoard(f"http://127.0.0.1:{server.port}", pulseboard, redis_env, raw)
        yield served
        served.kill_commands()


RunCommand = Callable[..., CommandResult]


@pytest.fixture
def run_in_process(
    board: ServedBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunCommand:
    """Run short commands in this process, because a dozen processes would start slowly."""
    monkeypatch.setenv("PULSEBOARD_SERVER", board.url)
    monkeypatch.setenv("COLUMNS", "200")

    def run_here(*arguments: str) -> CommandResult:
        code = run(arguments)
        output = capsys.readouterr()
        return CommandResult(code, output.out, output.err)

    return run_here
