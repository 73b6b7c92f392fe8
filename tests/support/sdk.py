"""Services and host programs that end with their test, and a view of their data in Redis."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis
from tests.support.valkey import run_valkey

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey

TIMEOUT_S = 20.0
SOURCE = Path(__file__).parents[2] / "src"
FORK_ENV = {"PYTHONWARNINGS": "ignore:This process:DeprecationWarning"}
"""Silences the warning that Python 3.12 and later give for a fork of a process with threads.

These tests check how a service behaves after such a fork.
"""


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {TIMEOUT_S:.0f} s"
        time.sleep(0.01)


@contextmanager
def interrupt_before_line(
    function: Callable[..., object], line: int, interruption: Callable[[], object]
) -> Iterator[Callable[[], bool]]:
    """Call `interruption` before the line with index `line` that a function executes.

    Another thread or a signal handler could run at that point. Yields a function that returns
    whether that line was reached.
    """
    code, remaining = function.__code__, line

    def at_line(_: FrameType, event: str, __: object) -> Any:
        nonlocal remaining
        if event == "line":
            remaining -= 1
            if remaining < 0:
                sys.settrace(before)
                interruption()
                return None
        return at_line

    def at_call(frame: FrameType, _: str, __: object) -> Any:
        return at_line if frame.f_code is code else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield lambda: remaining < 0
    finally:
        sys.settrace(before)


class RedisView:
    """The data of the services of one namespace in Redis."""

    def __init__(self, raw: redis.Redis, keys: Keys) -> None:
        self._raw = raw
        self._keys = keys

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every status event in the feed, in order."""
        return self._read("status")

    @property
    def lifecycle(self) -> list[dict[str, Any]]:
        """Every lifecycle event in the feed, in order."""
        return self._read("lifecycle")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every log line in the feed, in order."""
        return [line for event in self._read("log") for line in event["lines"]]

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return [event["status"] for event in self.events]

    @property
    def board(self) -> dict[str, dict[str, Any]]:
        """The latest event of each `<service>/<instance>`."""
        fields: Any = self._raw.hgetall(self._keys.board)
        return {name.decode(): json.loads(value) for name, value in fields.items()}

    @property
    def latest(self) -> dict[str, Any]:
        """The status of the last event, or {}."""
        statuses = self.statuses
        return statuses[-1] if statuses else {}

    @property
    def heartbeats(self) -> list[tuple[int, str]]:
        """Each heartbeat as (ms, instance)."""
        rows: Any = self._raw.xrange(self._keys.heartbeats)
        return [(int(id.split(b"-")[0]), fields[b"instance"].decode()) for id, fields in rows]

    @property
    def lags(self) -> list[int]:
        """The delay of the event loop in ms that each heartbeat reports."""
        rows: Any = self._raw.xrange(self._keys.heartbeats)
        return [int(fields.get(b"lag", 0)) for _, fields in rows]

    def _read(self, kind: str) -> list[dict[str, Any]]:
        rows: Any = self._raw.xrange(self._keys.feed)
        return [
            json.loads(fields[b"data"]) for _, fields in rows if fields[b"kind"] == kind.encode()
        ]


@pytest.fixture
def redis_view(raw: redis.Redis, keys: Keys) -> RedisView:
    return RedisView(raw, keys)


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """Run a Valkey that the test may stop and freeze."""
    with run_valkey() as server:
        yield server


MakeService = Callable[..., Service]


@pytest.fixture
def make_service(address: RedisAddress, namespace: str, prefix: str) -> Iterator[MakeService]:
    """Make services in the namespace of the test, started unless `start=False`."""
    made: list[Service] = []

    def make_service(name: str = "balance-sync", *, start: bool = True, **options: Any) -> Service:
        options = {
            "redis_url": address.url,
            "namespace": namespace,
            "channel_prefix": prefix,
        } | options
        service = Service(name, **options)
        made.append(service)
        return service.start() if start else service

    yield make_service
    for service in made:
        service.stop()


WAIT = """
import time
def wait():
    # One blocking call would not do: Python handles a signal that arrives just before the call
    # only after the call returns.
    while True:
        time.sleep(0.02)
"""
RunProgram = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def run_program(address: RedisAddress, namespace: str, prefix: str) -> Iterator[RunProgram]:
    """Run programs as host applications; they are killed when the test ends.

    A program can use `Service`, `wait()`, and `service`, which is not started yet.
    """
    processes: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        head = (
            'from pulseboard import Service\nservice = Service("balance-sync", heartbeat_s=0.2)\n'
            + WAIT
        )
        process = subprocess.Popen(
            [sys.executable, "-c", head + textwrap.dedent(program)],
            env=os.environ
            | FORK_ENV
            | {
                "PYTHONPATH": str(SOURCE),
                "REDIS_URL": address.url,
                "PULSEBOARD_NAMESPACE": namespace,
                "PULSEBOARD_CHANNEL_PREFIX": prefix,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()
