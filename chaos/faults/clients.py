"""Clients that disconnect and resume, and clients that do not read."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks._environment import percentile

from chaos.client import SMALL_BUFFER_BYTES, Client
from chaos.deliveries import Segment
from chaos.experiment import Experiment, Fault
from chaos.ids import ms_of
from chaos.proc import kernel_tcp_mb, read_usage

MEASURED_S, FILL_S = 5.0, 8.0
REQUEST = b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


async def disconnect(experiment: Experiment) -> None:
    """Reset connections of clients at random points; they resume at either server."""
    for _ in experiment.plan.repeats(150):
        random.choice(experiment.clients).reconnect_anywhere()
        experiment.runs += 1
        await asyncio.sleep(random.uniform(0, 0.1))
    experiment.runs -= 1
    await experiment.recover()


async def pause(experiment: Experiment) -> None:
    """Let one client of each server stop reading for a while, and then read on."""
    ports = experiment.deployment.ports
    slow = [Client(ports, first=n, small_buffer=True) for n in range(len(ports))]
    await experiment.add_clients(slow)
    for client in slow:
        client.pause()
    await asyncio.sleep(experiment.plan.pause_s)
    for client in slow:
        client.resume()
    await experiment.recover()


async def freeze(experiment: Experiment) -> None:
    """Open many streams that are never read; measure the cost for server and other clients."""
    server = experiment.deployment.servers[0]
    count, share = experiment.plan.frozen, min(1, experiment.plan.repetitions)
    seconds = MEASURED_S * share
    await asyncio.sleep(seconds)
    before_ms, before_mb = _p99s_ms(experiment, seconds), read_usage(server.pid).rss_mb
    kernel_mb = kernel_tcp_mb()
    with ExitStack() as frozen:
        for _ in range(count):
            frozen.enter_context(await _open_frozen(server.port))
        # The buffers of the kernel for these sockets fill first.
        await asyncio.sleep(FILL_S * share)
        await asyncio.sleep(seconds)
        after_ms, after_mb = _p99s_ms(experiment, seconds), read_usage(server.pid).rss_mb
        kernel_mb = kernel_tcp_mb() - kernel_mb
    await experiment.recover()
    here, there = (
        f"{before:.0f} -> {after:.0f} ms" for before, after in zip(before_ms, after_ms, strict=True)
    )
    experiment.notes += [
        (
            f"{count} frozen clients: server {before_mb:.0f} -> {after_mb:.0f} MB, "
            f"kernel memory of sockets {kernel_mb:+.0f} MB"
        ),
        (
            f"p99 of other clients at this server {here}, "
            f"at the other server, without frozen clients, {there}"
        ),
    ]


async def _open_frozen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    sock.send(REQUEST)
    return sock


def _p99s_ms(experiment: Experiment, seconds: float) -> list[float]:
    """Return, for each server, the p99 of the time from Redis' add of an event to its clients."""
    return [
        _p99_ms([client for client in experiment.clients if client.port == port], seconds)
        for port in experiment.deployment.ports
    ]


def _p99_ms(clients: Sequence[Client], seconds: float) -> float:
    since = time.monotonic() - seconds
    latencies = sorted(
        latency for client in clients for latency in _latencies_ms(client.log.segments[-1], since)
    )
    return percentile(latencies, 99) if latencies else 0.0


def _latencies_ms(segment: Segment, since: float) -> list[float]:
    offset_s = time.time() - time.monotonic()
    latencies: list[float] = []
    end = len(segment.ids)
    for first, arrived in reversed(segment.arrivals):
        if arrived < since:
            break
        latencies += [(offset_s + arrived) * 1000 - ms_of(id) for id in segment.ids[first:end]]
        end = first
    return latencies


FAULTS = (
    Fault(
        "client-drops",
        "clients disconnect at random points and resume at either server",
        disconnect,
        short=True,
        redis="stays",
    ),
    Fault(
        "slow-clients",
        "clients that stop reading for a while, and then read on",
        pause,
        redis="stays",
        short=True,
    ),
    Fault("frozen-clients", "clients that never read", freeze, short=True, redis="stays"),
)
