"""A server dies; its clients resume with their cursor at another server."""

from __future__ import annotations

import asyncio
import random

from chaos.experiment import Experiment, Fault


async def kill(experiment: Experiment) -> None:
    """Kill one server with SIGKILL, and the other after the first is ready again."""
    for n in experiment.plan.repeats(6):
        server = experiment.deployment.servers[n % 2]
        server.kill()
        await experiment.recover()
        await asyncio.sleep(random.uniform(0, 0.5))
        server.start()
        await server.wait_until_ready()


FAULTS = (
    Fault(
        "server-kill",
        "kill -9 of a server; its clients resume at the other with their cursor",
        kill,
        short=True,
        redis="stays",
    ),
)
