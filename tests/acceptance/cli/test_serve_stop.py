"""How a server ends under a thousand open streams, and how its workers live and end."""

import json
import os
import signal
import time
from typing import Any

import httpx
import pytest
import redis
from tests.acceptance.cli.test_demo import alive, children
from tests.support.cli import Program, Pulseboard, is_ready, until
from tests.support.open_streams import open_client_set

from pulseboard.hub.hub import RETRY_MS
from pulseboard.server.hosting.socket import raise_file_limit


def serve(
    pulseboard: Pulseboard, redis_env: dict[str, str], *arguments: str
) -> tuple[Program, int]:
    """Run one that is ready, on a free port."""
    program = pulseboard("serve", "--port", "0", *arguments, **redis_env)
    until(lambda: is_ready(program.url), "it did not become ready")
    return program, int(program.url.rpartition(":")[2])


def read_status(program: Program) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{program.url}/api/services/status").json()
    return document


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_streams_end_with_a_spread_of_retries_and_the_process_within_3_s(
    pulseboard: Pulseboard, redis_env: dict[str, str], prefix: str, workers: int
) -> None:
    raise_file_limit()
    program, port = serve(pulseboard, redis_env, "--workers", str(workers))
    pids = {program.process.pid, *children(program.process.pid)}
    assert len(pids) == (1 if workers == 1 else 1 + workers)
    with open_client_set() as clients, redis.Redis.from_url(redis_env["REDIS_URL"]) as raw:
        clients.add_slow(port, "/api/stream?services=loud", 10)
        clients.add_frozen(port, "/api/stream?services=loud", 10)
        for n in range(80):  # more than the kernel's buffers hold for one that reads nothing
            update = {"service": "loud", "timestamp": 1, "status": {"n": n, "text": "x" * 60_000}}
            raw.publish(f"{prefix}loud", json.dumps(update))
        for _ in range(10):  # of each worker
            until(
                lambda: read_status(program).get("loud", {}).get("n") == 79, "not every status came"
            )
        clients.add_slow(port, "/api/stream", 240)
        clients.add_frozen(port, "/api/stream", 240)
        clients.add(port, "/api/stream", 400)
        clients.add(port, "/api/services/status/stream", 100)
        ours, seeds = clients.fast[:400], clients.fast[400:]
        clients.read_until(
            lambda: all(reader.data.endswith(b"\n\n\r\n") for reader in clients.fast),
            "not all came",
        )

        started = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        clients.read_until(lambda: program.process.poll() is not None, "it did not end")
        assert time.monotonic() - started < 3
        assert program.process.returncode == 0
        clients.read_until(
            lambda: all(reader.ended for reader in clients.fast), "a stream was left open"
        )

    for reader in clients.fast:
        assert not reader.broken
        assert reader.data.endswith(b"\n\n\r\n0\r\n\r\n")
        assert reader.retry_ms is not None
        assert RETRY_MS[0] <= reader.retry_ms <= RETRY_MS[1]
    assert all(reader.data.count(b"event: bye") == 1 for reader in ours)
    assert not any(b"event:" in reader.data for reader in seeds)
    for group in (ours, seeds):
        retries = {reader.retry_ms for reader in group}
        assert len(retries) > len(group) / 2
    assert not alive(pids)
    assert "Traceback" not in program.err
    assert "ERROR" not in program.err


class TestWorkers:
    def test_the_address_is_told_once_and_a_worker_that_crashed_is_replaced(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program, _ = serve(pulseboard, redis_env, "--workers", "2")
        before = set(children(program.process.pid))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(
            lambda: len(set(children(program.process.pid)) - before) == 1,
            "nothing was started in its place",
        )
        assert set(children(program.process.pid)) & before == before - {victim}
        assert httpx.get(f"{program.url}/healthz").status_code == 200
        assert program.stop(signal.SIGINT) == 0
        assert program.out.count("board  ") == 1
        assert "was ended by SIGKILL; restarting" in program.err
        assert "Traceback" not in program.err

    def test_killing_the_parent_leaves_no_worker_behind(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program, _ = serve(pulseboard, redis_env, "--workers", "2")
        workers = set(children(program.process.pid))
        assert len(workers) == 2
        program.process.kill()
        program.wait()
        until(lambda: not alive(workers), "a worker was left")

    def test_a_frozen_worker_is_killed_in_time(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program, _ = serve(pulseboard, redis_env, "--workers", "2")
        workers = set(children(program.process.pid))
        frozen = min(workers)
        os.kill(frozen, signal.SIGSTOP)
        program.process.send_signal(signal.SIGTERM)
        until(lambda: not alive(workers - {frozen}), "the worker that is not frozen did not end")
        # How long a process takes to end depends on the load of the machine; the clock runs only while one is waited for.
        started = time.monotonic()
        until(lambda: not alive({frozen}), "the frozen worker was not killed")
        assert time.monotonic() - started < 3
        assert program.wait() == 0

    def test_what_was_given_by_flag_reaches_every_worker(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program = pulseboard(
            "serve", "--port", "0", "--expect", "a,b", PULSEBOARD_WORKERS="2", **redis_env
        )
        until(lambda: is_ready(program.url), "it did not become ready")
        assert len(children(program.process.pid)) == 2
        # New connections, so that both are asked.
        answers = [httpx.get(f"{program.url}/api/services/status").json() for _ in range(10)]
        assert answers == [{"a": {}, "b": {}}] * 10
