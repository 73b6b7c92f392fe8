"""The way between a server and Redis goes silent."""

from __future__ import annotations

import asyncio

from chaos.scene import Fault, Scene

FROZEN_S = 40.0


async def freeze(scene: Scene) -> None:
    """Freeze the link of the first server, the links of new connections included; the second server sees on."""
    link = scene.rig.link
    assert link is not None
    link.freeze()
    await asyncio.sleep(FROZEN_S)
    link.thaw()
    await scene.recover()


FAULTS = (
    Fault(
        "link-frozen-40s",
        "a server's link to Redis frozen for 40 s: no error, no byte",
        freeze,
        kind="linked",
        redis="stays",
    ),
)
