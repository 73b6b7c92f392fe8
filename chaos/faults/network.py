"""The connection between a server and Redis falls silent."""

from __future__ import annotations

import asyncio

from chaos.experiment import Experiment, Fault

FROZEN_S = 40.0


async def freeze(experiment: Experiment) -> None:
    """Freeze all connections of the first server to Redis, new ones included.

    The second server keeps its connections.
    """
    relay = experiment.deployment.relay
    assert relay is not None
    relay.freeze()
    await asyncio.sleep(FROZEN_S)
    relay.thaw()
    await experiment.recover()


FAULTS = (
    Fault(
        "link-frozen-40s",
        "a server's link to Redis is frozen for 40 s: no error, no byte",
        freeze,
        kind="relayed",
        redis="stays",
    ),
)
