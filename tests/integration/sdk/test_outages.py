"""Outages: Redis is down, frozen, or its packets are dropped.

The SDK's memory stays bounded, it reconnects soon after, and it never delays an exit.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from tests.support.bus import Proxy
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually
from tests.support.valkey import free_port, run_valkey

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey

BACK_WITHIN_S = 4.5
"""A server expects every service to publish within 5 s of Redis' return."""
MIB = 1024 * 1024


def is_drained(service: Service) -> bool:
    """Tell whether the service is connected and has sent all that was queued."""
    stats = service.stats()
    assert stats.offered == stats.sent + stats.dropped + stats.waiting
    return stats.connected and not stats.waiting


class BlackHole:
    """A port that does not even answer a SYN, because its queue of connections is full.

    It answers once `OpenedProxy` accepts its connections.
    """

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(0)
        self.port: int = self.sock.getsockname()[1]
        self._fillers = [self._fill() for _ in range(4)]

    def _fill(self) -> socket.socket:
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", self.port))
        return filler

    def close(self) -> None:
        for sock in [self.sock, *self._fillers]:
            sock.close()


@contextmanager
def black_hole() -> Iterator[BlackHole]:
    hole = BlackHole()
    try:
        yield hole
    finally:
        hole.close()


class OpenedProxy(Proxy):
    """A proxy on a port that was a black hole."""

    def __init__(self, target: RedisAddress, hole: BlackHole) -> None:
        super().__init__(target)
        self._hole = hole

    async def __aenter__(self) -> "OpenedProxy":
        self._server = await asyncio.start_server(self._serve, sock=self._hole.sock)
        return self


async def eventually_async(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, condition)


def test_outage_drops_intermediate_statuses_but_not_the_latest(
    own_valkey: EmbeddedValkey, keys: Keys, namespace: str
) -> None:
    with (
        Service(
            "balance-sync", redis_url=own_valkey.address.url, namespace=namespace, heartbeat_s=0.2
        ) as service,
        redis.Redis(port=own_valkey.address.port) as raw,
    ):
        redis_view = RedisView(raw, keys)
        eventually(lambda: redis_view.heartbeats)
        own_valkey.stop()
        for n in range(2_000):
            service.update(n=n)
            assert service.stats().waiting <= 256
        eventually(lambda: service.stats().failures >= 3)
        stats = service.stats()
        assert not stats.connected
        assert stats.last_error
        assert stats.overflowed + stats.coalesced >= 2_000 - 256
        with EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port):
            eventually(lambda: redis_view.latest == {"n": 1_999})
            heartbeats = len(redis_view.heartbeats)
            eventually(lambda: len(redis_view.heartbeats) > heartbeats)
            eventually(lambda: is_drained(service))
            assert service.stats().last_error, "the reason of the outage is kept"
            assert service.stats().sent == len(redis_view.events)
            service.stop()
            assert redis_view.events[-1]["stopped"] is True


def test_ten_minutes_of_updates_during_an_outage_use_little_memory(
    run_program: RunProgram, keys: Keys
) -> None:
    """20 updates of 8 kB per second would take 96 MB if the service kept them all."""
    port = free_port()
    program = run_program(
        f"""
        import json, os
        from pathlib import Path
        service = Service("balance-sync", redis_url="redis://127.0.0.1:{port}", heartbeat_s=0.2)
        def rss():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        def update_many(n, count):
            peak = 0
            for n in range(n, n + count):
                service.update(n=n, text="x" * 8_000)
                peak = max(peak, service.stats().waiting_bytes)
            return peak
        service.start()
        update_many(0, 2_000)
        before = rss()
        peak = update_many(2_000, 10_000)
        stats = service.stats()
        report = {{
            "rss_growth": rss() - before,
            "peak": peak,
            "offered": stats.offered,
            "failures": stats.failures,
            "sum": stats.sent + stats.dropped + stats.waiting,
        }}
        print(json.dumps(report), flush=True)
        input()
        """
    )
    assert program.stdout is not None
    report: dict[str, Any] = json.loads(program.stdout.readline())
    assert report["offered"] == report["sum"] == 12_001
    assert report["peak"] <= 4 * MIB + 8_300
    assert report["rss_growth"] < 16 * MIB
    assert report["failures"] < 100, "updates cause no connection attempts"
    with run_valkey(port), redis.Redis(port=port) as raw:
        redis_view = RedisView(raw, keys)
        eventually(lambda: redis_view.latest.get("n") == 11_999)
        assert len(redis_view.events) == 1
        program.communicate("\n", timeout=20)
        assert redis_view.events[-1]["stopped"] is True


@pytest.mark.parametrize("how", ["refused", "frozen", "black hole"])
def test_host_application_exits_in_time_during_any_outage(
    run_program: RunProgram, own_valkey: EmbeddedValkey, how: str
) -> None:
    with black_hole() as hole:
        port = {"refused": free_port(), "frozen": own_valkey.address.port, "black hole": hole.port}[
            how
        ]
        program = run_program(
            f"""
            import time
            service = Service("balance-sync", redis_url="redis://127.0.0.1:{port}").start()
            service.update(n=1)
            if {how == "frozen"}:
                while not service.stats().connected:
                    time.sleep(0.01)
            print("ready", flush=True)
            input()
            service.update(n=2)
            started = time.monotonic()
            import atexit
            from pulseboard.sdk.process_hooks import stop_all_services
            atexit.unregister(stop_all_services)
            def end():
                stop_all_services()
                print(time.monotonic() - started, flush=True)
            atexit.register(end)
            """
        )
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        assert own_valkey.pid is not None
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            output, errors = program.communicate("\n", timeout=30)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
    assert program.returncode == 0, errors
    assert float(output) < 2.5, "2 s, and some time for a loaded machine"


async def test_frozen_connection_is_replaced_and_the_latest_status_is_sent(
    address: RedisAddress, make_service: MakeService, redis_view: RedisView
) -> None:
    """A router that dropped the connection from its table causes neither an error nor a byte."""
    async with Proxy(address) as proxy:
        service = make_service(redis_url=proxy.address.url, heartbeat_s=0.3)
        await eventually_async(lambda: len(redis_view.heartbeats) >= 2)
        proxy.freeze()
        frozen_at = time.monotonic()
        for n in range(100):
            service.update(n=n)
            await asyncio.sleep(0.001)
        await eventually_async(lambda: redis_view.latest == {"n": 99})
        assert time.monotonic() - frozen_at < BACK_WITHIN_S
        assert service.stats().failures == 1
        heartbeats = len(redis_view.heartbeats)
        await eventually_async(lambda: len(redis_view.heartbeats) >= heartbeats + 2)
        await eventually_async(lambda: is_drained(service))
        await asyncio.to_thread(service.stop)


def use_longest_pause(service: Service) -> None:
    """Put the service into the state after a long outage: the longest pause between attempts."""
    sender = service._lifecycle.sender()
    assert sender is not None
    sender._attempts = 1_000


def test_service_reconnects_in_time_after_a_long_outage(
    own_valkey: EmbeddedValkey, keys: Keys, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(
        "balance-sync", redis_url=own_valkey.address.url, namespace=namespace, heartbeat_s=0.2
    ).start()
    with redis.Redis(port=own_valkey.address.port) as raw:
        redis_view = RedisView(raw, keys)
        eventually(lambda: redis_view.heartbeats)
        own_valkey.stop()
        eventually(lambda: service.stats().failures >= 2)
        use_longest_pause(service)
        failures = service.stats().failures
        eventually(lambda: service.stats().failures > failures)
        with EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port):
            returned_at, heartbeats = time.monotonic(), len(redis_view.heartbeats)
            eventually(lambda: len(redis_view.heartbeats) > heartbeats)
            assert time.monotonic() - returned_at < BACK_WITHIN_S
            service.stop()
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_service_reconnects_in_time_after_redis_was_frozen(
    own_valkey: EmbeddedValkey, keys: Keys, namespace: str
) -> None:
    service = Service(
        "balance-sync", redis_url=own_valkey.address.url, namespace=namespace, heartbeat_s=0.2
    ).start()
    with redis.Redis(port=own_valkey.address.port) as raw:
        redis_view = RedisView(raw, keys)
        eventually(lambda: redis_view.heartbeats)
        assert own_valkey.pid is not None
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            eventually(lambda: service.stats().failures >= 1)
            use_longest_pause(service)
            eventually(lambda: service.stats().failures >= 2)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        returned_at, heartbeats = time.monotonic(), len(redis_view.heartbeats)
        eventually(lambda: len(redis_view.heartbeats) > heartbeats)
        assert time.monotonic() - returned_at < BACK_WITHIN_S
        service.stop()


async def test_service_reconnects_in_time_after_the_port_did_not_answer(
    address: RedisAddress, make_service: MakeService, redis_view: RedisView
) -> None:
    with black_hole() as hole:
        service = make_service(redis_url=f"redis://127.0.0.1:{hole.port}", heartbeat_s=0.2)
        await eventually_async(lambda: service.stats().failures >= 1)
        use_longest_pause(service)
        await eventually_async(lambda: service.stats().failures >= 2)
        assert "imeout" in str(service.stats().last_error)
        async with OpenedProxy(address, hole):
            returned_at = time.monotonic()
            await eventually_async(lambda: redis_view.heartbeats)
            assert time.monotonic() - returned_at < BACK_WITHIN_S
            await asyncio.to_thread(service.stop)
