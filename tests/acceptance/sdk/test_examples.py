"""The programs in examples/, run as processes against a real Redis."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from tests.support.sdk import SOURCE, RedisView, eventually

from pulseboard.bus.connection.address import RedisAddress

EXAMPLES = Path(__file__).parents[3] / "examples"
SDK_EXAMPLES = (
    "async_service.py",
    "commands.py",
    "logs_and_metrics.py",
    "planned_return.py",
    "status.py",
)
OTHER_EXAMPLES = ("external_message.py", "mounted_board.py")


def start_example(
    name: str, address: RedisAddress, namespace: str, prefix: str
) -> subprocess.Popen[str]:
    env = {"PYTHONPATH": str(SOURCE), "REDIS_URL": address.url}
    env |= {"PULSEBOARD_NAMESPACE": namespace, "PULSEBOARD_CHANNEL_PREFIX": prefix}
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name)],
        env=os.environ | env,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_example_is_tested_and_listed_in_the_readme() -> None:
    programs = sorted(path.name for path in EXAMPLES.glob("*.py"))
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    assert programs == sorted((*SDK_EXAMPLES, *OTHER_EXAMPLES))
    assert [name for name in programs if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", SDK_EXAMPLES)
def test_example_publishes_a_status_and_stops_gracefully(
    name: str, address: RedisAddress, namespace: str, prefix: str, redis_view: RedisView
) -> None:
    with start_example(name, address, namespace, prefix) as program:
        if runs_forever := name == "commands.py":
            eventually(lambda: redis_view.board)
            program.terminate()
        _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (-signal.SIGTERM if runs_forever else 0, "")
    assert redis_view.board
    assert all(event["stopped"] for event in redis_view.board.values())


def test_external_message_example_publishes_a_status_message(
    address: RedisAddress, namespace: str, prefix: str, raw: redis.Redis
) -> None:
    with raw.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(f"{prefix}nightly-import")
        subscription.get_message(timeout=20)
        with start_example("external_message.py", address, namespace, prefix) as program:
            _, errors = program.communicate(timeout=60)
        message = subscription.get_message(timeout=20)
    assert (program.returncode, errors) == (0, "")
    assert message is not None
    assert b'"service": "nightly-import"' in message["data"]


READ_HEALTH = """
import asyncio
import httpx
import mounted_board

async def main() -> None:
    board = mounted_board.app.routes[0].app
    transport = httpx.ASGITransport(mounted_board.app)
    async with board, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        print((await client.get("/ops/healthz")).json()["status"])

asyncio.run(main())
"""


def test_mounted_board_example_serves_the_board_below_its_prefix(
    address: RedisAddress, namespace: str, prefix: str
) -> None:
    env = {"PYTHONPATH": str(SOURCE), "REDIS_URL": address.url}
    env |= {"PULSEBOARD_NAMESPACE": namespace, "PULSEBOARD_CHANNEL_PREFIX": prefix}
    done = subprocess.run(
        [sys.executable, "-c", READ_HEALTH],
        cwd=EXAMPLES,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
