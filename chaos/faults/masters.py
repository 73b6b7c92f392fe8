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


async def fail_over_with_loss(scene: Scene) -> None:
    """Kill the master when it is ahead of its replica: what readers saw last was never true for those to come."""
    node = await scene.replicas.kill_master_ahead()
    await scene.recover()
    await scene.replicas.revive(node)


FAULTS = (
    Fault(
        "sentinel-failover",
        "kill -9 of the master that three sentinels watch",
        fail_over,
        kind="sentinel",
    ),
    Fault(
        "sentinel-lossy-failover",
        "the same, when it is ahead of its replica",
        fail_over_with_loss,
        kind="sentinel",
        must_reset=True,
    ),
    Fault(
        "cluster-failover",
        "kill -9 of the cluster's node that holds the feed",
        fail_over,
        kind="cluster",
    ),
)
