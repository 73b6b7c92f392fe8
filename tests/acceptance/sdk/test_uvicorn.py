"""Applications that uvicorn serves: the documented lifespan stops the service gracefully."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sdk import SOURCE, RedisView, eventually
from tests.support.valkey import free_port

from pulseboard.bus.connection.address import RedisAddress

GUIDE = Path(__file__).parents[3] / "docs" / "sdk.md"


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def server(
    request: pytest.FixtureRequest,
    address: RedisAddress,
    namespace: str,
    prefix: str,
    tmp_path: Path,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run uvicorn with the example of the guide, in one process and with two workers."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    (example,) = [block for block in blocks if "Starlette(" in block]
    (tmp_path / "guide.py").write_text(example, "utf-8")
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--port",
        str(free_port()),
        "--workers",
        str(request.param),
        "guide:app",
    ]
    env = {"PYTHONPATH": f"{SOURCE}:{tmp_path}", "REDIS_URL": address.url}
    env |= {"PULSEBOARD_NAMESPACE": namespace, "PULSEBOARD_CHANNEL_PREFIX": prefix}
    with subprocess.Popen(command, env=os.environ | env, stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_in_the_documented_lifespan_stops_gracefully(
    server: "subprocess.Popen[bytes]",
    redis_view: RedisView,
    number: signal.Signals,
    request: pytest.FixtureRequest,
) -> None:
    processes = request.node.callspec.params["server"]
    eventually(lambda: len(redis_view.board) == processes)
    server.send_signal(number)
    server.wait(20)
    assert [event.get("stopped") for event in redis_view.board.values()] == [True] * processes
