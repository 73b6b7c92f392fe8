"""Commands through a real server to real processes: what is done, what is said of it, and that nothing is done twice."""

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
from tests.conftest import run_valkey
from tests.server.conftest import LIMIT_S, ServeFixture, Server, eventually

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey

SOURCE = Path(__file__).parents[2] / "src"
FINAL = {"refused", "done", "failed", "expired"}

HOST = """
import asyncio, logging, os, signal, sys, threading, time
import redis
from pulseboard import Service
from pulseboard.bus.orders import Orders
from pulseboard.bus.publisher import Publisher
from pulseboard.sdk.commander import Commander
from pulseboard.sdk.courier import Courier

raw = redis.Redis.from_url(os.environ["REDIS_URL"])
service = Service("till", beat_s=0.2, instance=sys.argv[1])

@service.command("count")
def count(by: int = 1) -> int:
    "Count up."
    return raw.hincrby(os.environ["PULSEBOARD_NAMESPACE"] + ":counted", sys.argv[1], by)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
"""
TAIL = """
with service:
    time.sleep(60)
"""


class Host:
    """One instance of the service `till`, a process of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(LIMIT_S)


RunHost = Callable[..., Host]


@pytest.fixture
def run_host(address: RedisAddress, namespace: str, prefix: str) -> Iterator[RunHost]:
    """Run an instance, with more program before it starts; it is killed when the test ends."""
    hosts: list[Host] = []

    def run(instance: str, program: str = "", *, redis_url: str | None = None, **environment: str) -> Host:
        environment |= {
            "PYTHONPATH": str(SOURCE),
            "REDIS_URL": redis_url or address.url,
            "PULSEBOARD_NAMESPACE": namespace,
            "PULSEBOARD_CHANNEL_PREFIX": prefix,
        }
        argv = [sys.executable, "-c", HOST + textwrap.dedent(program) + TAIL, instance]
        host = Host(subprocess.Popen(argv, env=os.environ | environment, stderr=subprocess.DEVNULL))
        hosts.append(host)
        return host

    yield run
    for host in hosts:
        host.kill(signal.SIGCONT)
        host.kill()
        host.wait()


class Till:
    """Whoever commands the service `till`, and looks what it did."""

    def __init__(self, server: Server, raw: redis.Redis, keys: Keys) -> None:
        self._server, self._raw, self._keys = server, raw, keys

    async def listens(self, *instances: str) -> None:
        """Wait until these instances, and no others, can be commanded."""

        def all_listen() -> bool:
            listening = {name for name in instances if self._raw.exists(self._keys.listener("till", name))}
            return listening == set(instances) and self._on_board() >= set(instances)

        await eventually(all_listen)

    def _on_board(self) -> set[str]:
        return {name for name, state in self._server.core.hub.states("till").items() if state == "alive"}

    def post(self, command: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        return self._server.request(
            "POST", "/api/services/till/commands", json={"command": command} | more, headers=headers or {}
        )

    def send(self, command: str, **more: Any) -> str:
        """Send a command; return its id."""
        answer = self.post(command, **more)
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        assert answer.headers["location"].endswith(record["id"])
        return str(record["id"])

    def receipts(self, command_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return the receipts of each instance, in the order in which they came."""
        told: dict[str, list[dict[str, Any]]] = {}
        for receipt in self._server.get(f"/api/commands/{command_id}").json()["receipts"]:
            told.setdefault(receipt["instance"], []).append(receipt)
        return told

    def steps(self, command_id: str) -> dict[str, list[str]]:
        return {name: [each["receipt"] for each in told] for name, told in self.receipts(command_id).items()}

    async def settled(self, command_id: str, *instances: str) -> dict[str, list[dict[str, Any]]]:
        """Wait until the last word of each of these is there; return all receipts."""
        await eventually(lambda: all(FINAL & set(self.steps(command_id).get(instance, ())) for instance in instances))
        return self.receipts(command_id)

    def counted(self) -> dict[str, int]:
        """Return how often each instance did it."""
        counted: Any = self._raw.hgetall(f"{self._keys.namespace}:counted")
        return {name.decode(): int(value) for name, value in counted.items()}

    def audit(self) -> list[tuple[str, dict[str, Any]]]:
        rows: Any = self._raw.xrange(self._keys.audit)
        return [(fields[b"kind"].decode(), json.loads(fields[b"data"])) for _, fields in rows]


@pytest.fixture
def till(server: Server, raw: redis.Redis, keys: Keys) -> Till:
    return Till(server, raw, keys)


async def test_all_instances_do_it_once_and_each_says_so(till: Till, run_host: RunHost, server: Server) -> None:
    for name in "abc":
        run_host(name)
    await till.listens("a", "b", "c")
    async with await server.open("/api/stream?kinds=command,receipt") as stream:
        await stream.next()
        command_id = till.send("count", args={"by": 2})
        sent = await stream.next()
        assert (sent.event, sent.data["command_id"], sorted(sent.data["instances"])) == (
            "command",
            command_id,
            ["a", "b", "c"],
        )
        live = [await stream.next() for _ in range(9)]
    told = await till.settled(command_id, "a", "b", "c")
    assert {name: [each["receipt"] for each in receipts] for name, receipts in told.items()} == dict.fromkeys(
        "abc", ["received", "accepted", "done"]
    )
    assert sorted((each.data["instance"], each.data["receipt"]) for each in live) == sorted(
        (name, each["receipt"]) for name, receipts in told.items() for each in receipts
    )
    assert told["b"][-1]["result"] == 2
    assert till.counted() == {"a": 2, "b": 2, "c": 2}


async def test_one_instance_does_what_only_it_was_told(till: Till, run_host: RunHost) -> None:
    for name in "ab":
        run_host(name)
    await till.listens("a", "b")
    command_id = till.send("count", instance="b")
    await till.settled(command_id, "b")
    assert till.steps(command_id) == {"b": ["received", "accepted", "done"]}
    assert till.counted() == {"b": 1}


ACCEPTED_FIRST = """
# What was accepted is told before anything else is done, so that each stage is the one that it is called.
say, publish_receipt, told = Commander._say, Publisher.publish_receipt, threading.Semaphore(0)

def publish_and_note(publisher, receipt):
    publish_receipt(publisher, receipt)
    told.release()

def say_and_wait(commander, command, step, **more):
    say(commander, command, step, **more)
    if step == "accepted":
        told.acquire()

Publisher.publish_receipt, Commander._say = publish_and_note, say_and_wait
"""
KILLED = {
    "before it is received": ("Orders.claim = die", ["expired"], "nobody-began"),
    "when it is received": ("Commander._begin = die", ["received", "failed"], "lost"),
    "when it is accepted": ("Commander._do = die", ["received", "accepted", "failed"], "lost"),
    "while it does it": (
        "service.command('count')(lambda: (count(), die()))",
        ["received", "accepted", "failed"],
        "lost",
    ),
    "before it says that it is done": (
        """
        tell = Courier._tell
        Courier._tell = lambda self, receipt: die() if receipt.receipt == "done" else tell(self, receipt)
        """,
        ["received", "accepted", "failed"],
        "lost",
    ),
}


@pytest.mark.parametrize("stage", KILLED)
async def test_of_three_instances_one_is_killed(till: Till, run_host: RunHost, stage: str) -> None:
    program, steps, reason = KILLED[stage]
    killed = run_host("a", ACCEPTED_FIRST + textwrap.dedent(program))
    run_host("b")
    run_host("c")
    await till.listens("a", "b", "c")
    command_id = till.send("count", deadline_s=1)
    assert killed.wait() == -signal.SIGKILL
    # It comes back under its name at once, as under any supervisor.
    run_host("a")
    told = await till.settled(command_id, "a", "b", "c")
    assert till.steps(command_id) == {
        "a": steps,
        "b": ["received", "accepted", "done"],
        "c": ["received", "accepted", "done"],
    }
    assert told["a"][-1]["reason"] in (reason, "restarted" if reason == "lost" else reason)
    await till.listens("a", "b", "c")
    again = till.send("count")
    await till.settled(again, "a", "b", "c")
    did = stage in ("while it does it", "before it says that it is done")
    assert till.counted() == {"a": 1 + did, "b": 2, "c": 2}
