"""Redis clients: their delays and timeouts, what they log, and that passwords stay hidden."""

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import uvloop
from tests.support.bus import RecordingReader, eventually, fail_on_command, outgoing, running
from tests.support.valkey import free_port, run_valkey

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import BusClient, open_client
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error, is_refusal
from pulseboard.bus.connection.probe import answers
from pulseboard.bus.connection.redis_client import RedisClient
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.bus.rejections import Rejections
from pulseboard.wire.errors import BusUnavailable, ConfigError

SECRET = "hunter2"
WRONG_SECRET = "correct-horse"


@pytest.fixture(scope="module")
def locked_address() -> Iterator[RedisAddress]:
    """Return the address, with the password, of a Valkey that requires one."""
    with (
        run_valkey() as server,
        redis.Redis(host=server.address.host, port=server.address.port) as raw,
    ):
        raw.config_set("requirepass", SECRET)
        yield RedisAddress(server.address.host, server.address.port, password=SECRET)


def test_delay_before_reconnecting_follows_the_original_specification() -> None:
    assert [retry_delay_s(attempt) for attempt in (0, 1, 2, 39, 40, 41, 10_000)] == [
        0,
        0.05,
        0.1,
        1.95,
        2,
        2,
        2,
    ]


def test_clients_log_in_with_the_password_of_the_address(locked_address: RedisAddress) -> None:
    with open_client(locked_address, None) as client:
        assert client.ping()
    publisher = Publisher(locked_address, Keys("locked"))
    assert publisher.publish([outgoing()])
    publisher.close()


async def test_wrong_password_is_reported_and_never_shown(
    locked_address: RedisAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = RedisAddress(
        locked_address.host, locked_address.port, username="default", password=WRONG_SECRET
    )
    publisher = Publisher(wrong, Keys("locked"))
    with pytest.raises(BusUnavailable) as refusal:
        await asyncio.to_thread(publisher.publish, [outgoing()])
    publisher.close()
    assert "password" in str(refusal.value)
    assert WRONG_SECRET not in f"{refusal.value!r} {refusal.value.__cause__!r}"

    reader = RecordingReader(wrong, Keys("locked"))
    async with BusClient(wrong, Keys("locked")) as bus:
        ingestor = Ingestor(bus, Rejections(), route_command=fail_on_command)
        async with running(reader.run(), ingestor.run()):
            await eventually(lambda: len(reader.outages) >= 3)
    assert WRONG_SECRET not in caplog.text + reader.outages[0].reason
    assert "password" in reader.outages[0].reason
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) <= 2, (
        "one line for the feed and one for the subscription, for the whole outage"
    )


def test_repr_of_a_client_hides_the_password(locked_address: RedisAddress) -> None:
    with open_client(locked_address, None) as client:
        client.ping()
        assert SECRET not in repr(client)


def test_any_failure_is_described_in_one_line() -> None:
    assert describe_error(OSError("a\nb")) == "a"
    assert describe_error(TimeoutError()) == "TimeoutError"
    assert len(describe_error(OSError("x" * 10_000))) == 200


def test_only_a_lasting_error_answer_is_a_refusal() -> None:
    assert is_refusal(redis.ResponseError("WRONGTYPE"))
    assert not is_refusal(redis.OutOfMemoryError())
    assert not is_refusal(redis.ReadOnlyError())
    assert not is_refusal(redis.ConnectionError())
    assert not is_refusal(TimeoutError())


async def test_redis_client_opens_each_connection_once_and_again_after_close(
    address: RedisAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pulseboard.bus")
    client = RedisClient(address)
    assert client.get_publisher() is client.get_publisher()
    assert client.get_subscriber() is client.get_subscriber()
    assert client.get_publisher() is not client.get_subscriber()
    await client.get_publisher().ping()
    assert "Redis Publisher connected" in caplog.text
    first = client.get_publisher()
    await client.close()
    await client.close()
    assert client.get_publisher() is not first
    await client.get_publisher().ping()
    await client.close()


def test_redis_client_reads_the_redis_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "cache")
    monkeypatch.setenv("REDIS_PORT", "6380")
    assert RedisClient().address == RedisAddress("cache", 6380)


async def test_publisher_of_redis_client_waits_for_redis_and_logs_one_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with RedisClient(RedisAddress("127.0.0.1", port)) as client:
        publishing = asyncio.ensure_future(client.get_publisher().publish("service:x", "{}"))
        await eventually(lambda: "trying again" in caplog.text)
        with run_valkey(port):
            assert await publishing == 0
        assert caplog.text.count("trying again") == 1


def test_each_client_has_a_deadline_for_its_handshake() -> None:
    """A subscriber's socket had no deadline.

    If Redis froze while the subscriber connected, the subscriber never received a message again.
    """
    for client in (
        RedisClient().get_subscriber(),
        RedisClient().get_publisher(),
        open_client(RedisAddress(), None),
    ):
        options = client.connection_pool.connection_kwargs
        assert options["socket_timeout"]
        assert options["socket_connect_timeout"]


def test_probe_finds_redis_also_where_a_password_is_required(
    address: RedisAddress, locked_address: RedisAddress
) -> None:
    assert answers(address)
    assert answers(RedisAddress(locked_address.host, locked_address.port)), (
        "a Redis that requires a password counts as present"
    )
    assert not answers(RedisAddress("127.0.0.1", free_port()))


async def test_probe_refuses_a_web_server() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = RedisAddress("127.0.0.1", server.sockets[0].getsockname()[1], password=SECRET)
    with pytest.raises(ConfigError, match="does not answer like Redis") as refusal:
        await asyncio.to_thread(answers, address)
    assert SECRET not in str(refusal.value)
    server.close()


def test_redis_errors_include_every_failure_of_a_connection() -> None:
    assert all(
        issubclass(kind, REDIS_ERRORS)
        for kind in (redis.ConnectionError, redis.TimeoutError, TimeoutError, OSError)
    )


def test_connecting_imports_no_module_that_a_fork_could_interrupt() -> None:
    """Connecting imported modules for the first time.

    A child that multiprocessing forked during such an import, in the SDK's thread, could
    never connect.
    """
    program = """
import sys, threading
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.wire.errors import BusUnavailable
publisher = Publisher(RedisAddress(host="localhost", port=int(sys.argv[1])), Keys("test-imports"))
before = set(sys.modules)
try:
    publisher.publish([Outgoing("a", "b", b'{"service":"a"}')])
except BusUnavailable:
    assert sys.argv[1] == "1"
print(sorted(set(sys.modules) - before))
"""
    with run_valkey() as valkey:
        for port in (valkey.address.port, 1):
            result = subprocess.run(
                [sys.executable, "-c", program, str(port)],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            assert result.stdout == "[]\n"


async def test_more_commands_than_connections_wait_for_a_free_connection(
    address: RedisAddress, keys: Keys
) -> None:
    async with BusClient(address, keys, concurrent_commands=2) as bus:
        waiting = [asyncio.ensure_future(bus.redis.blpop([keys.feed], timeout=0.2)) for _ in "ab"]
        cancelled = asyncio.ensure_future(bus.redis.ping())
        await asyncio.sleep(0.05)
        cancelled.cancel()
        assert all(await asyncio.gather(*(bus.redis.ping() for _ in range(20))))
        assert await asyncio.gather(*waiting) == [None, None]
        assert len(bus.redis.connection_pool._available_connections) <= 2


async def test_command_without_a_free_connection_fails_at_the_timeout(
    address: RedisAddress, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with BusClient(address, keys, concurrent_commands=1) as bus:
        # This changes only the wait for a connection: the client has its answer timeout already.
        monkeypatch.setattr("pulseboard.bus.connection.client.ANSWER_TIMEOUT_S", 0.1)
        waiting = asyncio.ensure_future(bus.redis.blpop([keys.feed], timeout=1))
        await asyncio.sleep(0.05)
        with pytest.raises(redis.ConnectionError, match="all 1 connections to Redis were busy"):
            await bus.redis.ping()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await bus.redis.ping()


def test_write_to_a_closed_transport_of_uvloop_is_a_connection_error(address: RedisAddress) -> None:
    """uvloop raised a RuntimeError, which ended a server while Redis restarted."""

    async def send_after_close() -> None:
        async with BusClient(address, Keys("test")) as bus:
            pool: Any = bus.redis.connection_pool
            connection = await pool.get_connection()
            writer = connection._writer
            assert writer is not None
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            try:
                await connection.send_packed_command([b"PING"], check_health=False)
            finally:
                await pool.release(connection)

    with pytest.raises(redis.ConnectionError, match="closed the connection"):
        uvloop.run(send_after_close())
