"""What the three services do when they are told to: trigger, pause, resume, restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

RESTART_S = 30.0
"""How long a restart may take, the supervisor's pause included."""


class CommandFailed(Exception):
    """What was asked for could not be done; the text says why."""


class Hold:
    """Whether a service holds. Nothing is interrupted: what goes on is finished, and nothing new is begun."""

    def __init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()

    @property
    def held(self) -> bool:
        """Whether nothing new is begun."""
        return not self._going.is_set()

    def begin(self) -> None:
        """Begin nothing new from here on."""
        self._going.clear()

    def end(self) -> None:
        """Go on."""
        self._going.set()

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait for the end of the hold, but not past `stop`."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._going)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


class Commanded(Protocol):
    """A service on the board that can be told to do things; `pulseboard.Service` is one."""

    def command(self, name: str, /) -> Callable[[Callable[..., Any]], Any]:
        """Offer a command."""

    def stop(self, *, back_in_s: float | None = None) -> None:
        """Say goodbye."""


class Controlled(Protocol):
    """What the three services have in common for whoever controls them."""

    hold: Hold
    trigger: Callable[..., Any]
    """Do its work now; the docstring and the arguments are what is shown of it."""

    def publish(self) -> None:
        """Publish the whole status."""


class Control:
    """Offers the commands of one service. After `restart` was asked for, `restarting` is true and `stop` set."""

    def __init__(self, service: Controlled, stop: asyncio.Event) -> None:
        self._service = service
        self._stop = stop
        self.restarting = False

    def offer(self, host: Commanded) -> None:
        """Have a service on the board listen for the commands."""
        host.command("trigger")(self._service.trigger)
        for handler in (self.pause, self.resume, self.restart):
            host.command(handler.__name__)(handler)

    async def pause(self) -> str:
        """Begin nothing new until told to resume; what goes on is finished."""
        self._service.hold.begin()
        self._service.publish()
        return "paused"

    async def resume(self) -> str:
        """Go on after a pause."""
        self._service.hold.end()
        self._service.publish()
        return "resumed"

    async def restart(self) -> str:
        """Finish what goes on, end the process, and be started again."""
        self.restarting = True
        self._stop.set()
        return "restarting"
