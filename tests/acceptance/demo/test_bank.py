"""The bank as a program: its start, its invalid options, and its exit."""

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
LIMIT_S = 30  # a start may be slow on a busy machine


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


async def run_to_exit(*arguments: str) -> tuple[int | None, str]:
    async with running(*arguments) as process:
        _, output = await asyncio.wait_for(process.communicate(), LIMIT_S)
        return process.returncode, output.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_bank_selects_a_free_port_announces_it_and_exits_with_0(
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


async def test_port_in_use_is_one_line_on_standard_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        code, output = await run_to_exit("pulseboard.demo.bank", "--port", str(port))
    assert (code, output.count("\n")) == (2, 1)
    assert f"127.0.0.1:{port}" in output


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--error-rate", "2"], "error_rate"),
        (["--page-size", "0"], "page_size"),
        (["--step-s", "0"], "step_s"),
    ],
)
async def test_invalid_option_is_one_line_on_standard_error(options: list[str], word: str) -> None:
    code, output = await run_to_exit("pulseboard.demo.bank", *options)
    assert (code, output.count("\n")) == (2, 1)
    assert word in output


async def test_unavailable_database_ends_a_worker_with_one_line_and_exit_code_1(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'nowhere' / 'demo.db'}"
    code, output = await run_to_exit(
        "pulseboard.demo.worker", "balance-sync", "--database-url", url
    )
    assert (code, output.count("\n")) == (1, 1), output
