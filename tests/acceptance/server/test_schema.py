"""schemathesis generates valid and invalid requests and checks the responses by the schema."""

import asyncio
import json
import sys
from pathlib import Path

import redis
from tests.support.commands import RunInstance, TillClient
from tests.support.server import ExternalPublisher, Server, eventually

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_schemathesis_finds_no_failure(
    server: Server,
    run_instance: RunInstance,
    till: TillClient,
    publish: ExternalPublisher,
    raw: redis.Redis,
    prefix: str,
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    raw.publish(f"{prefix}logs", json.dumps({"service": "till", "message": "one", "user": 7}))
    await till.wait_until_final(till.send("count"), "a")
    await eventually(lambda: server.get("/api/services/till/logs").json().get("lines", []))
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"http://127.0.0.1:{server.port}/schema/openapi.json", "--no-color"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
    assert run.returncode == 0, output.decode()
    assert "Test cases:" in output.decode()
    assert server.health()["dropped"] == {}
