"""Bundles the original specification's TypeScript and runs it with Node.

The page becomes a script for a browser, `lib/redis` a program.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hatch_build import PageError, node_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pulseboard.bus.connection.address import RedisAddress

HERE = Path(__file__).resolve().parent


@functools.cache
def build() -> Path:
    """Return the folder with both bundles. They are built once per test run."""
    if not (HERE / "node_modules" / "ioredis").is_dir():
        missing("React and ioredis are not installed: run `python scripts/prepare.py test`")
    folder = tempfile.TemporaryDirectory(prefix="pulseboard-compatibility-")
    _bundle_folders.append(folder)
    with node() as environment:
        subprocess.run(
            ["node", HERE / "harness" / "build.mjs", folder.name], env=environment, check=True
        )
    return Path(folder.name)


_bundle_folders: list[tempfile.TemporaryDirectory[str]] = []


def missing(reason: str) -> None:
    """Skip the test on a developer's machine and fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def node(address: RedisAddress | None = None) -> Iterator[dict[str, str]]:
    """Yield an environment with Node.js first on PATH and the address of a Redis."""
    try:
        with node_environment() as environment:
            if address is not None:
                environment |= {"REDIS_HOST": address.host, "REDIS_PORT": str(address.port)}
            yield environment
    except PageError as error:
        missing(str(error))


def publish(address: RedisAddress, updates: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Publish (channel, update) pairs in order with the original client.ts and pubsub.ts."""
    lines = "".join(
        json.dumps({"channel": channel, "update": update}) + "\n" for channel, update in updates
    )
    program = build() / "peer" / "peer.mjs"
    with node(address) as environment:
        subprocess.run(
            ["node", program, "publish"],
            input=lines,
            text=True,
            env=environment,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def subscriber(address: RedisAddress) -> Iterator[Iterator[dict[str, Any]]]:
    """Run the original `subscribe` and yield its callbacks as {"channel", "message"}."""
    with (
        node(address) as environment,
        subprocess.Popen(
            ["node", build() / "peer" / "peer.mjs", "subscribe"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as peer,
    ):
        assert peer.stdin is not None
        assert peer.stdout is not None
        received = (json.loads(line) for line in peer.stdout if line.startswith("{"))
        try:
            assert next(received) == {"subscribed": True}
            yield received
        finally:
            peer.stdin.close()
            peer.wait(10)
