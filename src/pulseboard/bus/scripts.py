"""The Redis scripts, read from `lua/`. Each file's header lists its KEYS, its ARGV and what it returns."""

from functools import cache
from importlib.resources import files


@cache
def read_script(name: str) -> str:
    """Return the source of `lua/<name>.lua`; the two that append events share one head."""
    folder = files(__package__) / "lua"
    head = (folder / "append.lua").read_text("utf-8") if name in ("publish", "adopt") else ""
    return head + (folder / f"{name}.lua").read_text("utf-8")
