"""The master dies, and a replica takes over that may lack the master's last writes."""

from __future__ import annotations

import asyncio

from chaos.experiment import Experiment, Fault


async def fail_over(experiment: Experiment) -> None:
    """Kill the master with SIGKILL, and restart it after the failover."""
    redis = experiment.replicated_redis
    for _ in experiment.plan.repeats(2):
        node = await redis.kill_master()
        await experiment.recover()
        await redis.revive(node)
        await asyncio.sleep(experiment.plan.steady_s)


async def fail_over_with_loss(experiment: Experiment) -> None:
    """Kill the master while its replica is behind: clients have received events that are lost."""
    redis = experiment.replicated_redis
    node = await redis.kill_master_ahead()
    await experiment.recover()
    await redis.revive(node)


FAULTS = (
    Fault(
        "sentinel-failover",
        "kill -9 of the master that three sentinels monitor",
        fail_over,
        kind="sentinel",
    ),
    Fault(
        "sentinel-lossy-failover",
        "the same while the replica is behind",
        fail_over_with_loss,
        kind="sentinel",
        must_reset=True,
    ),
    Fault(
        "cluster-failover",
        "kill -9 of the cluster node that has the feed",
        fail_over,
        kind="cluster",
    ),
)
