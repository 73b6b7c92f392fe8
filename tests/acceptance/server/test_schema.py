"""The schema, held against the server: schemathesis makes up requests, good and bad, and looks at what it gets for them."""

import asyncio
import json
import sys
from pathlib import Path

import redis
from tests.support.commands import RunHost, Till
from tests.support.server import Publisher, Server, eventually

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_schemathesis_finds_nothing(
    server: Server, run_host: RunHost, till: Till, publish: Publisher, raw: redis.Redis, prefix: str
) -> None:
    run_host("a")
    await till.listens("a")
    raw.publish(f"{prefix}logs", json.dumps({"service": "till", "message": "one", "user": 7}))
    await till.settled(till.send("count"), "a")
    await eventually(lambda: server.get("/api/services/till/logs").json().get("lines", []))
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"http://127.0.0.1:{server.port}/schema/openapi.json", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
    assert run.returncode == 0, said.decode()
    assert "Test cases:" in said.decode()
    assert server.health()["dropped"] == {}
