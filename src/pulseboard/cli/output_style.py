"""Terminal output: shape and colour of each state, ages, and text made safe to print."""

import datetime as dt
import sys
from typing import Any

import msgspec
from rich.console import Console

from pulseboard.wire.state import State

SHAPES = {
    State.ALIVE: "●",
    State.LATE: "◐",
    State.LOST: "✕",
    State.STOPPED: "■",
    State.SILENT: "○",
    State.MISSING: "◌",
    State.UNKNOWN: "–",  # noqa: RUF001  (the page uses a dash as well)
}
STYLES = {
    State.ALIVE: "green",
    State.LATE: "yellow",
    State.LOST: "bold red",
    State.STOPPED: "blue",
    State.SILENT: "cyan",
    State.MISSING: "bold magenta",
    State.UNKNOWN: "dim",
}
LEVEL_STYLES = {
    "debug": "dim",
    "info": "",
    "warning": "yellow",
    "error": "red",
    "critical": "bold white on red",
}
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def open_console(*, stderr: bool = False) -> Console:
    """Return a console: coloured on a terminal (see NO_COLOR), plain otherwise."""
    (sys.stderr if stderr else sys.stdout).reconfigure(errors="replace")  # type: ignore[union-attr]
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def format_age(ms: float) -> str:
    """Return a duration in at most six characters: `0.4s`, `42s`, `3m12s`, `2h05m`, `3d04h`."""
    ms = max(0.0, ms)
    if ms < 9_950:
        return f"{ms / 1000:.1f}s"
    if ms < MINUTE_MS:
        return f"{ms // 1000:.0f}s"
    if ms < HOUR_MS:
        return f"{ms // MINUTE_MS:.0f}m{ms % MINUTE_MS // 1000:02.0f}s"
    if ms < DAY_MS:
        return f"{ms // HOUR_MS:.0f}h{ms % HOUR_MS // MINUTE_MS:02.0f}m"
    days = ms // DAY_MS
    return f"{days:.0f}d{ms % DAY_MS // HOUR_MS:02.0f}h" if days < 100 else f"{days:.0f}d"


def format_interval(heartbeat_s: float | None) -> str:
    """Return a heartbeat interval such as `5s`, or a dash."""
    return "-" if heartbeat_s is None else f"{heartbeat_s:g}s"


def format_clock(ms: int) -> str:
    """Return a moment in local time, with its date unless that is today."""
    try:
        moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return str(ms)
    today = dt.datetime.now(dt.UTC).astimezone().date()
    text = f"{moment:%H:%M:%S}.{ms % 1000:03d}"
    return text if moment.date() == today else f"{moment:%Y-%m-%d} {text}"


def format_iso(ms: int) -> str:
    """Return a moment in ISO 8601 and UTC, always of the same length, so that lines sort."""
    try:
        moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def format_fields(fields: dict[str, Any]) -> str:
    """Return an object on one line: `done=7 phase="in work" queue={"depth":3}`."""
    return " ".join(f"{safe(name)}={_format_value(value)}" for name, value in fields.items())


def safe(text: str) -> str:
    """Return the text with control, colour and direction characters escaped."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    )


def _format_value(value: Any) -> str:
    if isinstance(value, str) and value and not any(c.isspace() or c in "\"'=" for c in value):
        return safe(value)
    return safe(msgspec.json.encode(value).decode())
