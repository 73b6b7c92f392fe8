"""Redis away, frozen, or behind a black hole: bounded while it lasts, back soon after, and never in the way of an exit."""

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
"""A server counts on hearing from every service within 5 s of Redis' return."""
MIB = 1024 * 1024


def settled(service: Service) -> bool:
    stats = service.stats()
    assert stats.offered == stats.sent + stats.dropped + stats.waiting
    return stats.connected and not stats.waiting


class BlackHole:
    """A port that answers nothing, not even a SYN, since its queue of connections is full; until it is opened."""

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


def test_redis_away_for_a_while_costs_the_steps_and_not_the_latest(
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
            eventually(lambda: settled(service))
            assert service.stats().last_error, "why it was away can still be asked"
            assert service.stats().sent == len(redis_view.events)
            service.stop()
            assert redis_view.events[-1]["stopped"] is True


def test_ten_minutes_of_updates_while_redis_is_away_take_no_memory(
    run_program: RunProgram, keys: Keys
) -> None:
    """At 20 updates per second, each of 8 kB: 96 MB if the service kept them all."""
    port = free_port()
    host = run_program(
        f"""
        import json, os
        from pathlib import Path
        service = Service("balance-sync", redis_url="redis://127.0.0.1:{port}", heartbeat_s=0.2)
        def rss():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        def say(n, count):
            most = 0
            for n in range(n, n + count):
                service.update(n=n, text="x" * 8_000)
                most = max(most, service.stats().waiting_bytes)
            return most
        service.start()
        say(0, 2_000)
        before = rss()
        most = say(2_000, 10_000)
        stats = service.stats()
        print(json.dumps({{"grown": rss() - before, "most": most, "offered": stats.offered, "failures": stats.failures,
            "sum": stats.sent + stats.dropped + stats.waiting}}), flush=True)
        input()
        """
    )
    assert host.stdout is not None
    told: dict[str, Any] = json.loads(host.stdout.readline())
    assert told["offered"] == told["sum"] == 12_001
    assert told["most"] <= 4 * MIB + 8_300
    assert told["grown"] < 16 * MIB
    assert told["failures"] < 100, "updates do not make attempts"
    with run_valkey(port), redis.Redis(port=port) as raw:
        redis_view = RedisView(raw, keys)
        eventually(lambda: redis_view.latest.get("n") == 11_999)
        assert len(redis_view.events) == 1
        host.communicate("\n", timeout=20)
        assert redis_view.events[-1]["stopped"] is True


@pytest.mark.parametrize("how", ["refused", "frozen", "black hole"])
def test_a_host_exits_in_time_whatever_redis_does(
    run_program: RunProgram, own_valkey: EmbeddedValkey, how: str
) -> None:
    with black_hole() as hole:
        port = {"refused": free_port(), "frozen": own_valkey.address.port, "black hole": hole.port}[
            how
        ]
        host = run_program(
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
            import pulseboard.sdk.process_hooks as host
            atexit.unregister(host.stop_all_services)
            def end():
                host.stop_all_services()
                print(time.monotonic() - started, flush=True)
            atexit.register(end)
            """
        )
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        assert own_valkey.pid is not None
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            output, errors = host.communicate("\n", timeout=30)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
    assert host.returncode == 0, errors
    assert float(output) < 2.5, "2 s, and what a loaded machine takes"


async def test_a_frozen_link_is_noticed_and_the_latest_goes_over_a_new_one(
    address: RedisAddress, make_service: MakeService, redis_view: RedisView
) -> None:
    """No error, no byte: as a router does that forgot the connection."""
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
        await eventually_async(lambda: settled(service))
        await asyncio.to_thread(service.stop)


def at_its_slowest(service: Service) -> None:
    """Let the service be where a long outage leaves it: at the longest of its pauses."""
    sender = service._lifecycle.sender()
    assert sender is not None
    sender._attempts = 1_000


def test_it_is_back_in_time_after_a_long_outage(
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
        at_its_slowest(service)
        failures = service.stats().failures
        eventually(lambda: service.stats().failures > failures)
        with EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port):
            back_at, heartbeats = time.monotonic(), len(redis_view.heartbeats)
            eventually(lambda: len(redis_view.heartbeats) > heartbeats)
            assert time.monotonic() - back_at < BACK_WITHIN_S
            service.stop()
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_it_is_back_in_time_after_redis_was_frozen(
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
            at_its_slowest(service)
            eventually(lambda: service.stats().failures >= 2)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        back_at, heartbeats = time.monotonic(), len(redis_view.heartbeats)
        eventually(lambda: len(redis_view.heartbeats) > heartbeats)
        assert time.monotonic() - back_at < BACK_WITHIN_S
        service.stop()


async def test_it_is_back_in_time_after_its_host_was_a_black_hole(
    address: RedisAddress, make_service: MakeService, redis_view: RedisView
) -> None:
    with black_hole() as hole:
        service = make_service(redis_url=f"redis://127.0.0.1:{hole.port}", heartbeat_s=0.2)
        await eventually_async(lambda: service.stats().failures >= 1)
        at_its_slowest(service)
        await eventually_async(lambda: service.stats().failures >= 2)
        assert "imeout" in str(service.stats().last_error)
        async with OpenedProxy(address, hole):
            back_at = time.monotonic()
            await eventually_async(lambda: redis_view.heartbeats)
            assert time.monotonic() - back_at < BACK_WITHIN_S
            await asyncio.to_thread(service.stop)
