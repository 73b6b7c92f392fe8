"""Report from asyncio code. The board shows a blocked event loop as stuck."""

import asyncio

from pulseboard import Service


async def main() -> None:
    async with Service("balance-sync", heartbeat_s=2) as service:
        for user in range(10):
            await asyncio.sleep(0.05)  # the work
            service.update(isRunning=True, lastUser=user)


asyncio.run(main())
