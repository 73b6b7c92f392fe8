"""Publishers die between two events, or have a wrong clock."""

from __future__ import annotations

import asyncio
import random

from chaos.scene import Fault, Scene

HOUR_S = 3_600.0


async def kill(scene: Scene) -> None:
    """Kill publishers with SIGKILL, wherever they are, and start them again."""
    for n in scene.plan.repeats(8):
        publisher = scene.rig.publishers[n % len(scene.rig.publishers)]
        await asyncio.sleep(random.uniform(0.1, 0.5))
        publisher.kill()
        await publisher.open()
        await scene.recover()


async def skew(scene: Scene) -> None:
    """One publisher and one server live an hour ahead, the plain publisher an hour ago."""
    ahead, _, behind = scene.rig.publishers
    server = scene.rig.servers[0]
    for skew_s in (HOUR_S, 0.0):
        for program, its_skew_s in ((ahead, skew_s), (behind, -skew_s)):
            program.kill()
            await program.open(its_skew_s)
        server.kill()
        server.start(skew_s=skew_s)
        await server.ready()
        if skew_s:
            await scene.recover()
            await asyncio.sleep(scene.plan.steady_s)


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
        "clocks wrong by an hour: two publishers' and a server's",
        skew,
        short=True,
        redis="stays",
    ),
)
