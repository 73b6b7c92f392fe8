"""The built-in commands, which a service enables by name.

They are ping, log-level, pause, resume and restart.
"""

import logging
import os
import signal
from collections.abc import Callable
from typing import Any, Literal

from pulseboard.sdk.command_executor import ResultWithAction
from pulseboard.sdk.command_registry import CommandRegistry, Handler
from pulseboard.sdk.pause_flag import PauseFlag
from pulseboard.wire.errors import ConfigError

Level = Literal["debug", "info", "warning", "error", "critical"]

RESTART_S = 60.0
"""How long a service may be away after `restart` before its absence counts as a loss."""


def register_builtin_commands(
    registry: CommandRegistry,
    names: tuple[str, ...],
    pause_flag: Callable[[], PauseFlag],
    stop: Callable[[float], None],
) -> None:
    """Register built-in commands by name; raise ConfigError for an unknown name.

    `pause_flag` returns the flag of this process, which a fork replaces. `stop` stops the service
    and announces its return within that number of seconds.
    """

    def pause() -> dict[str, bool]:
        """Pause its work until the command `resume`."""
        pause_flag().pause()
        return {"paused": True}

    def resume() -> dict[str, bool]:
        """Resume its work after a pause."""
        pause_flag().resume()
        return {"paused": False}

    def restart() -> ResultWithAction:
        """Stop the process gracefully; its supervisor starts it again."""

        def end() -> None:
            stop(RESTART_S)
            # The signal of a supervisor, so that the supervisor starts it again.
            os.kill(os.getpid(), signal.SIGTERM)

        return ResultWithAction({"pid": os.getpid()}, end)

    handlers: dict[str, Handler] = {
        "ping": ping,
        "log-level": set_log_level,
        "pause": pause,
        "resume": resume,
        "restart": restart,
    }
    for name in names:
        handler = handlers.get(name)
        if handler is None:
            raise ConfigError(
                f"{name!r:.80} is not a built-in command ({', '.join(handlers)});"
                " register your own commands with @service.command(...)"
            )
        registry.add(name, handler)


def ping() -> dict[str, Any]:
    """Answer with the process id, to show that commands are received."""
    return {"pid": os.getpid()}


def set_log_level(level: Level, logger: str = "") -> dict[str, str]:
    """Set the level of a logger of `logging`: the root logger, or the named one."""
    target = logging.getLogger(logger or None)
    before = logging.getLevelName(target.level).lower()
    target.setLevel(level.upper())
    return {"logger": logger, "before": before, "level": level}
