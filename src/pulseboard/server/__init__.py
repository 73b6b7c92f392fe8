"""The server: HTTP endpoints, streams, the page, and the composition of a server process.

`Pulseboard` is the board as an ASGI application: another ASGI server can run it, and another
application can mount it. `Settings` configures it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulseboard.server.hosting.asgi import Pulseboard
    from pulseboard.server.settings import Settings

__all__ = ["Pulseboard", "Settings"]

_MODULE_BY_NAME = {"Pulseboard": "hosting.asgi", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    # The import waits for the first use of a name. Every command of the CLI imports this package,
    # and only a few commands need the web framework, which takes long to import.
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
