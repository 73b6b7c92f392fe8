"""The end of a server with a thousand open streams, and the life of its workers."""

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
    """Start a server on a free port and wait until it is ready."""
    program = pulseboard("serve", "--port", "0", *arguments, **redis_env)
    until(lambda: is_ready(program.url), "the server did not become ready")
    return program, int(program.url.rpartition(":")[2])


def read_status(program: Program) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{program.url}/api/services/status").json()
    return document


@pytest.mark.parametrize("workers", [1, 2])
def test_thousand_streams_end_with_spread_retries_and_the_process_ends(
    pulseboard: Pulseboard, redis_env: dict[str, str], prefix: str, workers: int
) -> None:
    raise_file_limit()
    program, port = serve(pulseboard, redis_env, "--workers", str(workers))
    pids = {program.process.pid, *children(program.process.pid)}
    assert len(pids) == (1 if workers == 1 else 1 + workers)
    with open_client_set() as clients, redis.Redis.from_url(redis_env["REDIS_URL"]) as raw:
        clients.add_slow(port, "/api/stream?services=loud", 10)
        clients.add_frozen(port, "/api/stream?services=loud", 10)
        for n in range(80):  # more than the kernel buffers for a client that reads nothing
            update = {"service": "loud", "timestamp": 1, "status": {"n": n, "text": "x" * 60_000}}
            raw.publish(f"{prefix}loud", json.dumps(update))
        for _ in range(10):  # new connections reach each worker
            until(
                lambda: read_status(program).get("loud", {}).get("n") == 79,
                "not every status arrived",
            )
        clients.add_slow(port, "/api/stream", 240)
        clients.add_frozen(port, "/api/stream", 240)
        clients.add(port, "/api/stream", 400)
        clients.add(port, "/api/services/status/stream", 100)
        event_clients, status_clients = clients.fast[:400], clients.fast[400:]
        clients.read_until(
            lambda: all(client.data.endswith(b"\n\n\r\n") for client in clients.fast),
            "a stream received no complete message",
        )

        started = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        clients.read_until(lambda: program.process.poll() is not None, "the server did not end")
        # 3 s on an idle machine. A server that waited for the frozen clients would take a minute.
        assert time.monotonic() - started < 12
        assert program.process.returncode == 0
        clients.read_until(
            lambda: all(client.ended for client in clients.fast), "a stream was left open"
        )

    for client in clients.fast:
        assert not client.broken
        assert client.data.endswith(b"\n\n\r\n0\r\n\r\n")
        assert client.retry_ms is not None
        assert RETRY_MS[0] <= client.retry_ms <= RETRY_MS[1]
    assert all(client.data.count(b"event: bye") == 1 for client in event_clients)
    assert not any(b"event:" in client.data for client in status_clients)
    for group in (event_clients, status_clients):
        retries = {client.retry_ms for client in group}
        assert len(retries) > len(group) / 2
    assert not alive(pids)
    assert "Traceback" not in program.err
    assert "ERROR" not in program.err


class TestWorkers:
    def test_address_is_printed_once_and_a_crashed_worker_is_replaced(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program, _ = serve(pulseboard, redis_env, "--workers", "2")
        before = set(children(program.process.pid))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(
            lambda: len(set(children(program.process.pid)) - before) == 1,
            "the killed worker was not replaced",
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
        until(lambda: not alive(workers), "a worker is still alive")

    def test_frozen_worker_is_killed_within_3_s(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program, _ = serve(pulseboard, redis_env, "--workers", "2")
        workers = set(children(program.process.pid))
        frozen = min(workers)
        os.kill(frozen, signal.SIGSTOP)
        program.process.send_signal(signal.SIGTERM)
        until(lambda: not alive(workers - {frozen}), "the worker that is not frozen did not end")
        # A process ends slowly on a busy machine, so only the kill of the frozen worker is timed.
        started = time.monotonic()
        until(lambda: not alive({frozen}), "the frozen worker was not killed")
        assert time.monotonic() - started < 3
        assert program.wait() == 0

    def test_option_given_by_flag_reaches_every_worker(
        self, pulseboard: Pulseboard, redis_env: dict[str, str]
    ) -> None:
        program = pulseboard(
            "serve", "--port", "0", "--expect", "a,b", PULSEBOARD_WORKERS="2", **redis_env
        )
        until(lambda: is_ready(program.url), "the server did not become ready")
        assert len(children(program.process.pid)) == 2
        # New connections, so that both workers answer.
        documents = [httpx.get(f"{program.url}/api/services/status").json() for _ in range(10)]
        assert documents == [{"a": {}, "b": {}}] * 10
