"""HTTP: the routes, the streams, the page, and the composition of a server process.

What is imported from here is the board as an ASGI application, for servers and applications of other people.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulseboard.server.hosting.asgi import Pulseboard
    from pulseboard.server.settings import Settings

__all__ = ["Pulseboard", "Settings"]

_MODULES = {"Pulseboard": "hosting.asgi", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    # When asked for, not before: every command's import of a module in here would bring the web framework along.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
