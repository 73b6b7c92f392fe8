"""The bank as a program of its own: how it starts, refuses, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

Program = asyncio.subprocess.Process
LIMIT_S = 30  # for a start on a busy machine


@contextlib.asynccontextmanager
async def running(*arguments: str, **env: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_line(process: Program) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), LIMIT_S)).decode()


async def refusal(*arguments: str) -> tuple[int | None, str]:
    async with running(*arguments) as process:
        _, said = await asyncio.wait_for(process.communicate(), LIMIT_S)
        return process.returncode, said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_bank_takes_a_free_port_tells_it_and_ends_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    ready = tmp_path / "url"
    async with running("pulseboard.demo.bank", "--port", "0", "--ready-file", str(ready)) as bank:
        url = (await read_line(bank)).split()[-1]
        assert ready.read_text() == url
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{url}/health")).json()["status"] == "ok"
        bank.send_signal(number)
        assert await asyncio.wait_for(bank.wait(), 3) == 0


async def test_bank_says_in_one_line_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await refusal("pulseboard.demo.bank", "--port", str(port))
    assert (code, said.count("\n")) == (2, 1)
    assert f"127.0.0.1:{port}" in said


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--error-rate", "2"], "error_rate"),
        (["--page-size", "0"], "page_size"),
        (["--step-s", "0"], "step_s"),
    ],
)
async def test_wrong_option_is_refused_in_one_line(options: list[str], word: str) -> None:
    code, said = await refusal("pulseboard.demo.bank", *options)
    assert (code, said.count("\n")) == (2, 1)
    assert word in said


async def test_database_that_is_away_ends_a_worker_in_one_line_and_not_for_good(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'demo.db'}"
    code, said = await refusal("pulseboard.demo.worker", "balance-sync", "--database-url", url)
    assert (code, said.count("\n")) == (1, 1), said
