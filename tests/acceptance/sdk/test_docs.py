"""The SDK examples in the documents run unchanged."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.sdk import FORK_ENV, SOURCE, RedisView, eventually

from pulseboard.bus.connection.address import RedisAddress

ROOT = Path(__file__).parents[3]
DOCUMENTS = ("README.md", "docs/sdk.md", "docs/commands.md")


def examples() -> list[tuple[str, str]]:
    """Return the name and the code of each example of the SDK."""
    blocks = [
        (
            name,
            re.findall(
                r"^```python\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.DOTALL | re.MULTILINE
            ),
        )
        for name in DOCUMENTS
    ]
    sdk_blocks = [
        (name, [code for code in codes if "import Service" in code]) for name, codes in blocks
    ]
    return [(f"{name}-{n}", code) for name, codes in sdk_blocks for n, code in enumerate(codes, 1)]


def test_each_document_has_examples() -> None:
    assert {name.rpartition("-")[0] for name, _ in examples()} == set(DOCUMENTS)


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in examples()])
def test_example_runs_and_stops_gracefully(
    address: RedisAddress, namespace: str, prefix: str, redis_view: RedisView, code: str
) -> None:
    env = {"PYTHONPATH": str(SOURCE), "REDIS_URL": address.url}
    env |= {"PULSEBOARD_NAMESPACE": namespace, "PULSEBOARD_CHANNEL_PREFIX": prefix}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | FORK_ENV | env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if endless := "while True" in code:
            eventually(lambda: redis_view.board)
            process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (-signal.SIGTERM if endless else 0, "")
    assert redis_view.board
    assert all(event["stopped"] for event in redis_view.board.values())
