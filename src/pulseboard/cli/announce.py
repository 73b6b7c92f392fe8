"""What a command says when the board is up."""

import socket

from pulseboard.server.version import VERSION


def board_url(host: str, sock: socket.socket) -> str:
    """Return the address of the page, as somebody on this machine reaches it."""
    port = sock.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (a name to show, not an address to bind)
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/services"


def announce(url: str, redis: str) -> None:
    """Say where the board is and which Redis it reads."""
    print(f"Pulseboard {VERSION}\n  board  {url}\n  redis  {redis}\n  Ctrl-C to stop", flush=True)
