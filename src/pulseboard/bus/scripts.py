"""The Redis scripts in `lua/`.

The header of each file lists its KEYS, its ARGV and its return value.

A line `-- Requires: a, b` in a header names files of shared functions, which are put before the
script. `append_*` stands for `append_<kind>` of every public kind of event that has such a file.
"""

import re
from functools import cache
from importlib.resources import files

from pulseboard.wire.kinds import EVENT_KINDS

_FOLDER = files(__package__) / "lua"
_REQUIRES = re.compile(r"^-- Requires: (.+)$", re.MULTILINE)


@cache
def read_script(name: str) -> str:
    """Return the source of `lua/<name>.lua` after the files that it requires, each once."""
    parts: dict[str, str] = {}
    _collect(name, parts)
    return "".join(parts.values())


def _collect(name: str, parts: dict[str, str]) -> None:
    """Add a file to `parts` after the files that it requires."""
    if name in parts:
        return
    source = (_FOLDER / f"{name}.lua").read_text("utf-8")
    if (match := _REQUIRES.search(source)) is not None:
        for required in match[1].split(", "):
            for each in _append_files() if required == "append_*" else [required]:
                _collect(each, parts)
    parts[name] = source


def _append_files() -> list[str]:
    names = [f"append_{kind.name}" for kind in EVENT_KINDS if kind.public]
    return [name for name in names if (_FOLDER / f"{name}.lua").is_file()]
