"""A worker as a process: its exit after SIGTERM and with invalid options."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.demo import Bank, until

from pulseboard.demo.supervisor import SERVICES

WORKER = (sys.executable, "-m", "pulseboard.demo.worker")


@asynccontextmanager
async def run_worker(
    name: str, bank: Bank, database_url: str, **env: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    worker_env = {
        "PULSEBOARD_DEMO_BANK_URL": bank.url,
        "PULSEBOARD_DEMO_DATABASE_URL": database_url,
        **env,
    }
    process = await asyncio.create_subprocess_exec(
        *WORKER, name, stdout=asyncio.subprocess.PIPE, env={**os.environ, **worker_env}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def read_status(process: asyncio.subprocess.Process) -> dict[str, Any] | None:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 10)
    status: dict[str, Any] | None = json.loads(line) if line else None
    return status


@pytest.mark.parametrize("name", SERVICES)
async def test_sigterm_ends_a_worker_with_a_last_status_and_code_0(
    name: str, bank: Bank, database_url: str
) -> None:
    async with run_worker(name, bank, database_url, PULSEBOARD_DEMO_PRINT_STATUS="1") as worker:
        last = await read_status(worker)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 3) == 0
        while (status := await read_status(worker)) is not None:
            last = status
    assert last is not None
    assert (last["phase"], last["isRunning"]) == ("stopped", False)


async def test_hanging_bank_and_hanging_redis_do_not_delay_the_exit(
    bank: Bank, database_url: str
) -> None:
    bank.gate = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        redis = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        async with run_worker("account-discovery", bank, database_url, REDIS_URL=redis) as worker:
            await until(lambda: bank.in_flight == 1)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.wait(), 3) == 0


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (["--concurrency", "0"], {}),
        (["--users-per-s", "inf"], {}),
        (["--users-per-s", "many"], {}),
        (["--no-such-option"], {}),
        (["--bank-url", "ftp://bank"], {}),
        (["--database-url", "mysql://user:secret@host/x"], {}),
        ([], {"REDIS_URL": "http://:secret@host"}),
        ([], {"PULSEBOARD_DEMO_BALANCE_SYNC_PASS_SIZE": "-1"}),
    ],
)
async def test_invalid_options_end_with_one_line_and_exit_code_2(
    options: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *WORKER,
        "balance-sync",
        *options,
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
    )
    _, output = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert output.count(b"\n") == 1
    assert b"secret" not in output
