"""`pulseboard serve` as a program: its output, its streams and its end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from tests.support.cli import Program, Pulseboard, is_ready, until
from tests.support.server import Stream, open_frozen
from tests.support.valkey import free_port

from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey


def serve(
    pulseboard: Pulseboard, redis_env: dict[str, str], *arguments: str
) -> tuple[Program, int]:
    """Start a server on a free port and wait until it is ready."""
    program = pulseboard("serve", "--port", "0", *arguments, **redis_env)
    until(lambda: is_ready(program.url), "the server did not become ready")
    return program, int(program.url.rpartition(":")[2])


def test_server_prints_the_addresses_of_its_board_and_redis(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    program, port = serve(pulseboard, redis_env)
    assert f"board  http://127.0.0.1:{port}/services\n" in program.out
    assert f"redis  {redis_env['REDIS_URL']}\n" in program.out
    assert program.stop() == 0
    assert "Traceback" not in program.err
    for line in program.err.splitlines():
        assert "ERROR" not in line
        assert "WARNING" not in line


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_each_stream_with_a_bye_and_the_process_within_3_s(
    pulseboard: Pulseboard, redis_env: dict[str, str], kind: signal.Signals
) -> None:
    program, port = serve(pulseboard, redis_env)
    event_streams = [await Stream.open(port) for _ in range(20)]
    status_streams = [await Stream.open(port, "/api/services/status/stream") for _ in range(5)]
    with open_frozen(port):
        started = time.monotonic()
        code = await asyncio.to_thread(program.stop, kind)
        assert time.monotonic() - started < 3
    assert code == 0
    for stream in event_streams:
        messages = await stream.rest()
        assert (messages[0].event, messages[-1].event) == ("board", "bye")
        assert messages[-1].retry is not None
    for stream in status_streams:
        assert all(message.event is None for message in await stream.rest())
    for stream in (*event_streams, *status_streams):
        stream.close()
    assert "Traceback" not in program.err
    assert "ERROR" not in program.err


async def test_client_that_reads_nothing_does_not_delay_the_end(
    pulseboard: Pulseboard, redis_env: dict[str, str], prefix: str
) -> None:
    program, port = serve(pulseboard, redis_env)
    with open_frozen(port), redis.Redis.from_url(redis_env["REDIS_URL"]) as raw:
        async with await Stream.open(port, "/api/services/status/stream") as stream:
            await stream.next()
            for n in range(200):
                status = {"n": n, "text": "x" * 50_000}
                update = {"service": "a", "timestamp": 1, "status": status}
                raw.publish(prefix + "a", json.dumps(update))
            await stream.until(lambda message: message.data.get("status", {}).get("n") == 199)
        started = time.monotonic()
        assert await asyncio.to_thread(program.stop) == 0
        assert time.monotonic() - started < 3
    assert "Traceback" not in program.err
    assert "ERROR" not in program.err


async def test_server_without_a_login_reports_it_on_the_board(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    program, port = serve(pulseboard, redis_env, "--host", "0.0.0.0", "--insecure-no-auth")
    assert f"http://localhost:{port}/services" in program.out
    async with await Stream.open(port) as stream:
        assert (await stream.next()).data["insecure"] is True


def test_options_come_from_file_environment_and_flags(
    pulseboard: Pulseboard, redis_env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pulseboard.toml").write_text('expect = ["from-file"]\nping_s = 7')
    program, _ = serve(pulseboard, redis_env | {"PULSEBOARD_EXPECT": "from-env,balance-sync"})
    assert httpx.get(f"{program.url}/api/services/status").json() == {
        "fromEnv": {},
        "balanceSync": {},
    }


def test_server_waits_for_its_configured_redis_and_connects_when_it_starts(
    pulseboard: Pulseboard, tmp_path: Path
) -> None:
    port = free_port()
    program = pulseboard("serve", "--port", "0", REDIS_URL=f"redis://:geheim@127.0.0.1:{port}")
    url = program.url
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert httpx.get(f"{url}/readyz").status_code == 503
    with EmbeddedValkey(tmp_path / "late", port=port):
        # This Valkey rejects any password. The server reports the error and keeps running.
        assert httpx.get(f"{url}/healthz").status_code == 200
    assert "geheim" not in program.out + program.err
    assert program.stop() == 0


def test_server_uses_an_inherited_socket(
    pulseboard: Pulseboard, redis_env: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-m", "pulseboard", "serve", "--fd", str(sock.fileno()), "--quiet"],
            cwd=tmp_path,
            env={**os.environ, **redis_env},
            pass_fds=(sock.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as program:
            until(lambda: is_ready(f"http://127.0.0.1:{port}"), "the server did not become ready")
            program.terminate()
            out, _ = program.communicate(timeout=10)
            assert (program.returncode, out) == (0, b"")


def test_external_messages_are_ingested_once_while_one_of_two_servers_is_killed(
    pulseboard: Pulseboard, redis_env: dict[str, str], raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    """One server dies with received messages that it has not ingested yet.

    It has also ingested messages that the other server has not ingested.
    """
    servers = [serve(pulseboard, redis_env)[0] for _ in range(2)]
    published: list[int] = []
    for n in range(3_000):
        # Each third message repeats the bytes of the one before and still counts separately.
        published.append(n - 1 if n % 3 == 2 else n)
        update = {"service": "balance-sync", "timestamp": 1, "status": {"n": published[-1]}}
        raw.publish(f"{prefix}balance-sync", json.dumps(update))
        if n == 1_500:
            servers[0].process.kill()
    until(lambda: raw.xlen(keys.feed) >= len(published), "not all messages were ingested")
    rows: Any = raw.xrange(keys.feed)
    assert [json.loads(fields[b"data"])["status"]["n"] for _, fields in rows] == published
    assert servers[1].stop() == 0
