"""`pulseboard serve`."""

import socket

from pulseboard.cli.redis import provide_redis
from pulseboard.server.run import bind, serve
from pulseboard.server.settings import Settings
from pulseboard.server.version import VERSION
from pulseboard.wire.errors import ConfigError


def run_serve(settings: Settings, *, fd: int | None = None, quiet: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM, with an embedded Valkey where there is no Redis."""
    # The port first: what cannot be served needs no Redis.
    with _listen(settings, fd) as sock, provide_redis(settings) as (settings, redis):
        serve(settings, sock, lambda: None if quiet else announce(board_url(settings.host, sock), redis))


def _listen(settings: Settings, fd: int | None) -> socket.socket:
    if fd is None:
        return bind(settings.host, settings.port)
    try:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
    except OSError as error:
        raise ConfigError(f"--fd {fd} is no socket that was handed over: {error.strerror}") from error
    return sock


def board_url(host: str, sock: socket.socket) -> str:
    """Return the address of the page, as somebody on this machine reaches it."""
    port = sock.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104  (a name to show, not an address to bind)
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/services"


def announce(url: str, redis: str) -> None:
    """Say where the board is and which Redis it reads."""
    print(f"Pulseboard {VERSION}\n  board  {url}\n  redis  {redis}\n  Ctrl-C to stop", flush=True)
