"""The Redis scripts, read from `lua/`. Each file's header lists its KEYS, its ARGV and what it returns."""

from functools import cache
from importlib.resources import files

_HEADS = {
    "publish": ("clock", "lifecycle", "append"),
    "adopt": ("clock", "lifecycle", "append"),
    "forget": ("clock", "lifecycle"),
    "declare": ("clock", "lifecycle"),
    "snapshot": ("clock",),
    "beat": ("clock",),
    "look": ("clock",),
    "continuity": ("unbroken",),
    "replay": ("unbroken",),
}
"""What scripts share stands in files of its own, and is put before them."""


@cache
def read_script(name: str) -> str:
    """Return the source of `lua/<name>.lua`, with the heads that it needs."""
    folder = files(__package__) / "lua"
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in (*_HEADS.get(name, ()), name))
