"""Redis dies, closes connections, loses its data, or has a wrong clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from chaos.experiment import Experiment, Fault

HOUR_S = 3_600.0


def restart(away_s: float, *, delete_data: bool) -> Callable[[Experiment], Awaitable[None]]:
    """Return a fault that kills Redis with SIGKILL and starts it again after `away_s`."""

    async def run(experiment: Experiment) -> None:
        experiment.valkey.kill(delete_data=delete_data)
        await asyncio.sleep(away_s)
        await experiment.valkey.start()
        await experiment.recover()

    return run


async def set_clock_back(experiment: Experiment) -> None:
    """Restart Redis with a clock that is an hour behind, and then with the right clock."""
    for skew_s in (-HOUR_S, 0.0):
        experiment.valkey.kill()
        await experiment.valkey.start(skew_s=skew_s)
        await experiment.recover()
        await asyncio.sleep(experiment.plan.steady_s)


async def kill_connections(experiment: Experiment) -> None:
    """Have Redis close every connection of its clients."""
    for _ in experiment.plan.repeats(20):
        with experiment.deployment.redis.connect() as client:
            for kind in ("normal", "pubsub"):
                await asyncio.to_thread(
                    client.execute_command, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"
                )
        await experiment.recover()
        await asyncio.sleep(random.uniform(0, 0.4))


async def flush(experiment: Experiment) -> None:
    """Delete all data of Redis, which closes no connection."""
    for _ in experiment.plan.repeats(3):
        with experiment.deployment.redis.connect() as client:
            await asyncio.to_thread(client.flushall)
        await experiment.recover()
        # Wait until each client has its reset: two flushes in between could cause a single one.
        await experiment.wait_or_fail(
            "every client has a reset",
            lambda: all(
                len(client.log.segments) > experiment.runs for client in experiment.clients
            ),
        )


FAULTS = (
    Fault(
        "redis-restart-1s",
        "kill -9 of Redis; it returns after 1 s with its append-only file",
        restart(1, delete_data=False),
        short=True,
        redis="returns",
    ),
    Fault(
        "redis-clock-back",
        "the clock of Redis is set back by an hour, then set right",
        set_clock_back,
        short=True,
    ),
    Fault(
        "redis-restart-15s",
        "kill -9 of Redis; it returns after 15 s with its append-only file",
        restart(15, delete_data=False),
        redis="returns",
    ),
    Fault(
        "redis-restart-60s",
        "kill -9 of Redis; it returns after 60 s with its append-only file",
        restart(60, delete_data=False),
        redis="returns",
    ),
    Fault(
        "redis-data-loss-1s",
        "kill -9 of Redis without persistence; it returns empty after 1 s",
        restart(1, delete_data=True),
        short=True,
        must_reset=True,
    ),
    Fault(
        "redis-data-loss-15s",
        "kill -9 of Redis without persistence; it returns empty after 15 s",
        restart(15, delete_data=True),
        must_reset=True,
    ),
    Fault(
        "redis-data-loss-60s",
        "kill -9 of Redis without persistence; it returns empty after 60 s",
        restart(60, delete_data=True),
        must_reset=True,
    ),
    Fault(
        "client-kill",
        "CLIENT KILL of every connection to Redis",
        kill_connections,
        short=True,
        redis="returns",
    ),
    Fault("flushall", "FLUSHALL", flush, short=True, must_reset=True),
)
