"""Readers that go and come back, and readers that do not read."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks._rig import percentile

from chaos.ids import ms_of
from chaos.ledger import Streak
from chaos.proc import footprint, kernel_tcp_mb
from chaos.reader import SMALL_BUFFER_BYTES, Reader
from chaos.scene import Fault, Scene

MEASURED_S, FILL_S = 5.0, 8.0
REQUEST = b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


async def drop(scene: Scene) -> None:
    """Readers hang up wherever they are and resume, on this server or on the other."""
    for _ in scene.plan.repeats(150):
        random.choice(scene.readers).move()
        scene.runs += 1
        await asyncio.sleep(random.uniform(0, 0.1))
    scene.runs -= 1
    await scene.recover()


async def pause(scene: Scene) -> None:
    """One reader of each server takes nothing for a while, and then reads on."""
    slow = [
        Reader(scene.rig.ports, first=n, small_buffer=True) for n in range(len(scene.rig.ports))
    ]
    await scene.admit(slow)
    for reader in slow:
        reader.pause()
    await asyncio.sleep(scene.plan.pause_s)
    for reader in slow:
        reader.go_on()
    await scene.recover()


async def freeze(scene: Scene) -> None:
    """A crowd opens streams and never reads a byte; what does it cost the server and the others?"""
    server = scene.rig.servers[0]
    seconds = MEASURED_S * min(1, scene.plan.times)
    await asyncio.sleep(seconds)
    before_ms, before_mb = _p99s_ms(scene, seconds), footprint(server.pid).rss_mb
    kernel_mb = kernel_tcp_mb()
    with ExitStack() as crowd:
        for _ in range(scene.plan.frozen):
            crowd.enter_context(await _open_frozen(server.port))
        await asyncio.sleep(
            FILL_S * min(1, scene.plan.times)
        )  # what the kernel buffers for them fills first
        await asyncio.sleep(seconds)
        after_ms, after_mb = _p99s_ms(scene, seconds), footprint(server.pid).rss_mb
        kernel_mb = kernel_tcp_mb() - kernel_mb
    await scene.recover()
    here, there = (
        f"{before:.0f} -> {after:.0f} ms" for before, after in zip(before_ms, after_ms, strict=True)
    )
    scene.notes += [
        f"{scene.plan.frozen} frozen: server {before_mb:.0f} -> {after_mb:.0f} MB, the kernel's sockets {kernel_mb:+.0f} MB",
        f"p99 of others at that server {here}, at the other server, where nobody is frozen, {there}",
    ]


async def _open_frozen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    sock.send(REQUEST)
    return sock


def _p99s_ms(scene: Scene, seconds: float) -> list[float]:
    """Return the p99, for the readers of each server, of the time from an event's place in the feed to its reader."""
    return [
        _p99_ms([r for r in scene.readers if r.port == port], seconds) for port in scene.rig.ports
    ]


def _p99_ms(readers: Sequence[Reader], seconds: float) -> float:
    since = time.monotonic() - seconds
    latencies = sorted(
        latency for reader in readers for latency in _latencies_ms(reader.log.streaks[-1], since)
    )
    return percentile(latencies, 99) if latencies else 0.0


def _latencies_ms(streak: Streak, since: float) -> list[float]:
    clock_s = time.time() - time.monotonic()
    latencies: list[float] = []
    until = len(streak.ids)
    for first, arrived in reversed(streak.arrivals):
        if arrived < since:
            break
        latencies += [(clock_s + arrived) * 1000 - ms_of(id) for id in streak.ids[first:until]]
        until = first
    return latencies


FAULTS = (
    Fault(
        "client-drops",
        "clients hang up at random points and resume, on either server",
        drop,
        short=True,
        redis="stays",
    ),
    Fault(
        "slow-readers",
        "readers that do not read for a while, and then read on",
        pause,
        redis="stays",
        short=True,
    ),
    Fault("frozen-readers", "readers that never read", freeze, short=True, redis="stays"),
)
