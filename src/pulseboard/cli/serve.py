"""`pulseboard serve`."""

from pulseboard.cli.announce import announce, board_url
from pulseboard.cli.redis import provide_redis
from pulseboard.server.listen import adopt, bind
from pulseboard.server.run import serve
from pulseboard.server.settings import Settings


def run_serve(settings: Settings, *, fd: int | None = None, quiet: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM, with an embedded Valkey where there is no Redis."""
    # The port first: what cannot be served needs no Redis.
    with (
        bind(settings.host, settings.port) if fd is None else adopt(fd) as sock,
        provide_redis(settings) as (settings, redis),
    ):
        serve(settings, sock, lambda: None if quiet else announce(board_url(settings.host, sock), redis))
