"""Publishers die between two events, or have a wrong clock."""

from __future__ import annotations

import asyncio
import random

from chaos.experiment import Experiment, Fault

HOUR_S = 3_600.0


async def kill(experiment: Experiment) -> None:
    """Kill publishers with SIGKILL at random moments, and start them again."""
    publishers = experiment.deployment.publishers
    for n in experiment.plan.repeats(8):
        publisher = publishers[n % len(publishers)]
        await asyncio.sleep(random.uniform(0.1, 0.5))
        publisher.kill()
        await publisher.open()
        await experiment.recover()


async def skew(experiment: Experiment) -> None:
    """Set the clocks of an SDK publisher and a server ahead, of the external publisher back."""
    ahead, _, behind = experiment.deployment.publishers
    server = experiment.deployment.servers[0]
    for skew_s in (HOUR_S, 0.0):
        for publisher, own_skew_s in ((ahead, skew_s), (behind, -skew_s)):
            publisher.kill()
            await publisher.open(own_skew_s)
        server.kill()
        server.start(skew_s=skew_s)
        await server.wait_until_ready()
        if skew_s:
            await experiment.recover()
            await asyncio.sleep(experiment.plan.steady_s)


FAULTS = (
    Fault(
        "publisher-kill",
        "kill -9 of publishers between two events",
        kill,
        short=True,
        redis="stays",
    ),
    Fault(
        "clock-wrong",
        "the clocks of two publishers and a server are wrong by an hour",
        skew,
        short=True,
        redis="stays",
    ),
)
