"""A server dies; its clients move to another, with their cursor."""

from __future__ import annotations

import asyncio
import random

from chaos.scene import Fault, Scene


async def kill(scene: Scene) -> None:
    """Kill one server with SIGKILL, and the other once the first is back."""
    for n in scene.plan.repeats(6):
        server = scene.rig.servers[n % 2]
        server.kill()
        await scene.recover()
        await asyncio.sleep(random.uniform(0, 0.5))
        server.start()
        await server.ready()


FAULTS = (
    Fault(
        "server-kill",
        "kill -9 of a server, clients move to the other with their cursor",
        kill,
        short=True,
        redis="stays",
    ),
)
