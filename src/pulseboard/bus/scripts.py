"""The Redis scripts, read from `lua/`. Each file's header lists its KEYS, its ARGV and what it returns."""

from functools import cache
from importlib.resources import files

_HEADS = {
    "publish": ("stream", "clock", "feed", "lifecycle", "append"),
    "ingest": (
        "stream",
        "clock",
        "feed",
        "lifecycle",
        "append",
        "logs",
        "metrics",
        "audit",
        "commands",
    ),
    "evict": ("stream", "clock", "feed", "lifecycle"),
    "declare_lost": ("stream", "clock", "feed", "lifecycle"),
    "log": ("stream", "clock", "feed", "logs"),
    "send_command": ("stream", "clock", "feed", "audit", "commands"),
    "claim_command": ("stream", "clock", "feed", "audit", "receipts"),
    "receipt": ("stream", "clock", "feed", "audit", "receipts"),
    "metric": ("stream", "clock", "feed", "metrics"),
    "trim": ("stream", "clock", "feed"),
    "snapshot": (
        "stream",
        "clock",
    ),
    "heartbeat": (
        "stream",
        "clock",
    ),
    "sync_clock": (
        "stream",
        "clock",
    ),
    "is_continuous": ("stream", "continuity"),
    "replay": ("stream", "continuity"),
}
"""What scripts share stands in files of its own, and is put before them."""


@cache
def read_script(name: str) -> str:
    """Return the source of `lua/<name>.lua`, with the heads that it needs."""
    folder = files(__package__) / "lua"
    return "".join(
        (folder / f"{part}.lua").read_text("utf-8") for part in (*_HEADS.get(name, ()), name)
    )
