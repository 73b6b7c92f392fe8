"""The lines that a command prints when the board is up."""

import socket

from pulseboard.server.version import VERSION


def board_url(host: str, sock: socket.socket) -> str:
    """Return the URL of the page for a browser on this machine."""
    port = sock.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared, not bound)
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/services"


def announce(url: str, redis: str) -> None:
    """Print the URL of the board and the Redis that it reads."""
    print(f"Pulseboard {VERSION}\n  board  {url}\n  redis  {redis}\n  Ctrl-C to stop", flush=True)
