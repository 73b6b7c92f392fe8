"""The server: HTTP endpoints, streams, the page, and the composition of a server process.

Its public names are those of the board as an ASGI application, for other servers and applications.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulseboard.server.hosting.asgi import Pulseboard
    from pulseboard.server.settings import Settings

__all__ = ["Pulseboard", "Settings"]

_MODULES = {"Pulseboard": "hosting.asgi", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    # Imported on demand, because each CLI command imports a module of this package, and few of them
    # need the web framework.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
