"""The Redis scripts, read from `lua/`. Each file's header lists its KEYS, its ARGV and what it returns."""

from functools import cache
from importlib.resources import files

_HEADS = {
    "publish": ("stream", "clock", "feed", "lifecycle", "append"),
    "adopt": ("stream", "clock", "feed", "lifecycle", "append", "logs", "metrics", "audit", "commands"),
    "forget": ("stream", "clock", "feed", "lifecycle"),
    "declare": ("stream", "clock", "feed", "lifecycle"),
    "log": ("stream", "clock", "feed", "logs"),
    "send": ("stream", "clock", "feed", "audit", "commands"),
    "claim": ("stream", "clock", "feed", "audit", "receipts"),
    "receipt": ("stream", "clock", "feed", "audit", "receipts"),
    "metric": ("stream", "clock", "feed", "metrics"),
    "tighten": ("stream", "clock", "feed"),
    "snapshot": (
        "stream",
        "clock",
    ),
    "beat": (
        "stream",
        "clock",
    ),
    "look": (
        "stream",
        "clock",
    ),
    "continuity": ("stream", "unbroken"),
    "replay": ("stream", "unbroken"),
}
"""What scripts share stands in files of its own, and is put before them."""


@cache
def read_script(name: str) -> str:
    """Return the source of `lua/<name>.lua`, with the heads that it needs."""
    folder = files(__package__) / "lua"
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in (*_HEADS.get(name, ()), name))
