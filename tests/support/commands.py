"""Instances of a service that accept commands, and a client that sends commands to them."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.server import LIMIT_S, Server, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys

SOURCE = Path(__file__).parents[2] / "src"
FINAL = {"refused", "done", "failed", "expired"}

PROGRAM_HEAD = """
import asyncio, logging, os, signal, sys, threading, time
import redis
from pulseboard import Service
from pulseboard.bus.commands.receiver import CommandReceiver
from pulseboard.bus.publisher import Publisher
from pulseboard.sdk.command_executor import CommandExecutor
from pulseboard.sdk.command_runner import CommandRunner

raw = redis.Redis.from_url(os.environ["REDIS_URL"])
service = Service("till", heartbeat_s=0.2, instance=sys.argv[1])

@service.command("count")
def count(by: int = 1) -> int:
    "Count up."
    return raw.hincrby(os.environ["PULSEBOARD_NAMESPACE"] + ":counted", sys.argv[1], by)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
"""
PROGRAM_TAIL = """
with service:
    time.sleep(60)
"""


class InstanceProcess:
    """A process that runs one instance of the service `till`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(LIMIT_S)


RunInstance = Callable[..., InstanceProcess]


@pytest.fixture
def run_instance(address: RedisAddress, namespace: str, prefix: str) -> Iterator[RunInstance]:
    """Run instances of `till`; they are killed when the test ends.

    `program` is more code, which runs before the instance starts.
    """
    processes: list[InstanceProcess] = []

    def run(
        instance: str, program: str = "", *, redis_url: str | None = None, **environment: str
    ) -> InstanceProcess:
        environment |= {
            "PYTHONPATH": str(SOURCE),
            "REDIS_URL": redis_url or address.url,
            "PULSEBOARD_NAMESPACE": namespace,
            "PULSEBOARD_CHANNEL_PREFIX": prefix,
        }
        argv = [
            sys.executable,
            "-c",
            PROGRAM_HEAD + textwrap.dedent(program) + PROGRAM_TAIL,
            instance,
        ]
        process = InstanceProcess(
            subprocess.Popen(argv, env=os.environ | environment, stderr=subprocess.DEVNULL)
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill(signal.SIGCONT)
        process.kill()
        process.wait()


class TillClient:
    """A client that sends commands to the service `till` and reads the receipts."""

    def __init__(self, server: Server, raw: redis.Redis, keys: Keys) -> None:
        self._server, self._raw, self._keys = server, raw, keys

    async def wait_until_listening(self, *instances: str) -> None:
        """Wait until exactly these instances listen for commands."""

        def all_are_listening() -> bool:
            listening = {
                name for name in instances if self._raw.exists(self._keys.listener("till", name))
            }
            return listening == set(instances) and self._on_board() >= set(instances)

        await eventually(all_are_listening)

    def _on_board(self) -> set[str]:
        return {
            name
            for name, state in self._server.runtime.hub.states("till").items()
            if state == "alive"
        }

    def post(self, command: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        return self._server.request(
            "POST",
            "/api/services/till/commands",
            json={"command": command} | more,
            headers=headers or {},
        )

    def send(self, command: str, **more: Any) -> str:
        """Send a command; return its id."""
        response = self.post(command, **more)
        assert response.status_code == 202, response.text
        record: dict[str, Any] = response.json()
        assert response.headers["location"].endswith(record["id"])
        return str(record["id"])

    def receipts(self, command_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return the receipts of each instance, in order of arrival."""
        receipts_by_instance: dict[str, list[dict[str, Any]]] = {}
        for receipt in self._server.get(f"/api/commands/{command_id}").json()["receipts"]:
            receipts_by_instance.setdefault(receipt["instance"], []).append(receipt)
        return receipts_by_instance

    def steps(self, command_id: str) -> dict[str, list[str]]:
        return {
            name: [each["receipt"] for each in receipts_by_instance]
            for name, receipts_by_instance in self.receipts(command_id).items()
        }

    async def wait_until_final(
        self, command_id: str, *instances: str
    ) -> dict[str, list[dict[str, Any]]]:
        """Wait for the final receipt of each of these instances; return all receipts."""
        await eventually(
            lambda: all(
                FINAL & set(self.steps(command_id).get(instance, ())) for instance in instances
            )
        )
        return self.receipts(command_id)

    def run_counts(self) -> dict[str, int]:
        """Return how many times each instance has run `count`."""
        run_counts: Any = self._raw.hgetall(f"{self._keys.namespace}:counted")
        return {name.decode(): int(value) for name, value in run_counts.items()}

    def audit(self) -> list[tuple[str, dict[str, Any]]]:
        rows: Any = self._raw.xrange(self._keys.audit)
        return [(fields[b"kind"].decode(), json.loads(fields[b"data"])) for _, fields in rows]


@pytest.fixture
def till(server: Server, raw: redis.Redis, keys: Keys) -> TillClient:
    return TillClient(server, raw, keys)
