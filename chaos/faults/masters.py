"""The master dies, and a replica takes over that may lack the last that the master took."""

from __future__ import annotations

import asyncio

from chaos.scene import Fault, Scene


async def fail_over(scene: Scene) -> None:
    """Kill the master with SIGKILL, and revive it once another is."""
    for _ in scene.plan.repeats(2):
        node = await scene.replicas.kill_master()
        await scene.recover()
        await scene.replicas.revive(node)
        await asyncio.sleep(scene.plan.steady_s)


FAULTS = (
    Fault("sentinel-failover", "kill -9 of the master that three sentinels watch", fail_over, kind="sentinel"),
    Fault("cluster-failover", "kill -9 of the cluster's node that holds the feed", fail_over, kind="cluster"),
)
