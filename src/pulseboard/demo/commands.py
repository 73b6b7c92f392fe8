"""The commands of the three services: trigger, pause, resume, restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

RESTART_S = 30.0
"""The longest expected restart in seconds, with the pause of the supervisor before it."""


class CommandFailed(Exception):
    """The service could not execute a command; the message is the reason."""


class PauseSwitch:
    """Tells a service whether it may start new work. Work in progress is never interrupted."""

    def __init__(self) -> None:
        self._running = asyncio.Event()
        self._running.set()

    @property
    def is_paused(self) -> bool:
        """Whether the service must not start new work."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Forbid new work."""
        self._running.clear()

    def resume(self) -> None:
        """Allow new work again."""
        self._running.set()

    async def wait_until_resumed(self, stop: asyncio.Event) -> None:
        """Wait until new work is allowed or `stop` is set."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._running)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


class BoardService(Protocol):
    """The part of `pulseboard.Service` that `Control` uses."""

    def command(self, name: str, /) -> Callable[[Callable[..., Any]], Any]:
        """Return a decorator that registers a command handler."""

    def stop(self, *, back_in_s: float | None = None) -> None:
        """Publish a graceful stop."""


class ControllableService(Protocol):
    """The part of the three services that `Control` uses."""

    pause_switch: PauseSwitch
    trigger: Callable[..., Any]
    """The handler that starts the work at once. The board shows its docstring and arguments."""

    def publish(self) -> None:
        """Publish the complete status."""


class Control:
    """The command handlers of one service.

    `restart` sets `restarting` and the stop event; the worker then announces a planned return.
    """

    def __init__(self, service: ControllableService, stop: asyncio.Event) -> None:
        self._service = service
        self._stop = stop
        self.restarting = False

    def register(self, board_service: BoardService) -> None:
        """Register all handlers with the SDK's service."""
        board_service.command("trigger")(self._service.trigger)
        for handler in (self.pause, self.resume, self.restart):
            board_service.command(handler.__name__)(handler)

    async def pause(self) -> str:
        """Finish the work in progress, and start no new work until `resume`."""
        self._service.pause_switch.pause()
        self._service.publish()
        return "paused"

    async def resume(self) -> str:
        """Start new work again after `pause`."""
        self._service.pause_switch.resume()
        self._service.publish()
        return "resumed"

    async def restart(self) -> str:
        """Finish the work in progress and end the process; the supervisor starts it again."""
        self.restarting = True
        self._stop.set()
        return "restarting"
