"""The standard commands: what many services can be told, of which each offers what it means to heed."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Literal

from pulseboard.sdk.command_registry import CommandRegistry, Handler
from pulseboard.sdk.command_runner import AndThen
from pulseboard.wire.errors import ConfigError

Level = Literal["debug", "info", "warning", "error", "critical"]

RESTART_S = 60.0
"""How long a service that is told to restart may be away before that is a loss."""


class Pause:
    """Whether a service shall pause. Its host asks, or waits: nobody can be paused in the middle of what he does."""

    def __init__(self) -> None:
        self._going = threading.Event()
        self._going.set()

    def __bool__(self) -> bool:
        return not self._going.is_set()

    def begin(self) -> None:
        self._going.clear()

    def end(self) -> None:
        self._going.set()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the end of the pause; return whether it has ended."""
        return self._going.wait(timeout_s)

    def renew(self) -> "Pause":
        """Return one in the same state: a forked child's."""
        heir = Pause()
        if self:
            heir.begin()
        return heir


def offer_standard(
    offers: CommandRegistry,
    names: tuple[str, ...],
    pause: Callable[[], Pause],
    stop: Callable[[float], None],
) -> None:
    """Offer standard commands by name; raise ConfigError for a name that is none."""

    def pause_now() -> dict[str, bool]:
        """Pause its work, until it is told to resume."""
        pause().begin()
        return {"paused": True}

    def resume() -> dict[str, bool]:
        """Go on after a pause."""
        pause().end()
        return {"paused": False}

    def restart() -> AndThen:
        """End the process in an orderly way; whoever runs it starts it anew."""

        def end() -> None:
            stop(RESTART_S)
            os.kill(
                os.getpid(), signal.SIGTERM
            )  # as whoever runs it would, so that it is started anew

        return AndThen({"pid": os.getpid()}, end)

    standard: dict[str, Handler] = {
        "ping": ping,
        "log-level": set_log_level,
        "pause": pause_now,
        "resume": resume,
        "restart": restart,
    }
    for name in names:
        handler = standard.get(name)
        if handler is None:
            raise ConfigError(
                f"{name!r:.80} is no standard command ({', '.join(standard)}): what does it is yours to say, "
                "by @service.command(…)"
            )
        offers.add(name, handler)


def ping() -> dict[str, Any]:
    """Answer, to show that it listens."""
    return {"pid": os.getpid()}


def set_log_level(level: Level, logger: str = "") -> dict[str, str]:
    """Set from which level on a logger of `logging` logs; the root logger unless another is named."""
    chosen = logging.getLogger(logger or None)
    before = logging.getLevelName(chosen.level).lower()
    chosen.setLevel(level.upper())
    return {"logger": logger, "before": before, "level": level}
