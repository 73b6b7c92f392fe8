"""Redis dies, hangs up, or forgets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from chaos.scene import Fault, Scene

HOUR_S = 3_600.0


def restart(away_s: float, *, forget: bool) -> Callable[[Scene], Awaitable[None]]:
    """Kill Redis with SIGKILL and start it again after a while."""

    async def run(scene: Scene) -> None:
        scene.valkey.kill(forget=forget)
        await asyncio.sleep(away_s)
        await scene.valkey.start()
        await scene.recover()

    return run


async def set_back(scene: Scene) -> None:
    """Redis comes back on a host whose clock is an hour behind, and then on one whose clock is right."""
    for skew_s in (-HOUR_S, 0.0):
        scene.valkey.kill()
        await scene.valkey.start(skew_s=skew_s)
        await scene.recover()
        await asyncio.sleep(scene.plan.steady_s)


async def kill_clients(scene: Scene) -> None:
    """Redis hangs up on every client that there is."""
    for _ in scene.plan.repeats(20):
        with scene.rig.store.connect() as client:
            for kind in ("normal", "pubsub"):
                await asyncio.to_thread(
                    client.execute_command, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"
                )
        await scene.recover()
        await asyncio.sleep(random.uniform(0, 0.4))


async def flush(scene: Scene) -> None:
    """Empty Redis, which breaks no connection."""
    for _ in scene.plan.repeats(3):
        with scene.rig.store.connect() as client:
            await asyncio.to_thread(client.flushall)
        await scene.recover()
        # The next one comes when this one was noticed, or it could not be told from it.
        await scene.until(
            lambda: all(len(reader.log.streaks) > scene.runs for reader in scene.readers)
        )


FAULTS = (
    Fault(
        "redis-restart-1s",
        "kill -9 of Redis, back after 1 s with its append-only file",
        restart(1, forget=False),
        short=True,
        redis="returns",
    ),
    Fault(
        "redis-clock-back",
        "Redis' clock set back by an hour, and right again",
        set_back,
        short=True,
    ),
    Fault(
        "redis-restart-15s", "the same, back after 15 s", restart(15, forget=False), redis="returns"
    ),
    Fault(
        "redis-restart-60s", "the same, back after 60 s", restart(60, forget=False), redis="returns"
    ),
    Fault(
        "redis-forgets-1s",
        "kill -9 of Redis without persistence, back empty after 1 s",
        restart(1, forget=True),
        short=True,
        must_reset=True,
    ),
    Fault(
        "redis-forgets-15s",
        "the same, back empty after 15 s",
        restart(15, forget=True),
        must_reset=True,
    ),
    Fault(
        "redis-forgets-60s",
        "the same, back empty after 60 s",
        restart(60, forget=True),
        must_reset=True,
    ),
    Fault(
        "client-kill",
        "CLIENT KILL of every connection to Redis",
        kill_clients,
        short=True,
        redis="returns",
    ),
    Fault("flushall", "FLUSHALL", flush, short=True, must_reset=True),
)
