"""`pulseboard serve`."""

import contextlib
import os

from pulseboard.cli.announce import announce, board_url
from pulseboard.cli.redis import provide_redis
from pulseboard.cli.workers import serve_by_workers
from pulseboard.server.hosting.socket import bind, inherit
from pulseboard.server.hosting.uvicorn import serve
from pulseboard.server.settings import Settings


def run_serve(
    settings: Settings, *, fd: int | None = None, quiet: bool = False, ready_fd: int | None = None
) -> int:
    """Serve until Ctrl-C or SIGTERM, with an embedded Valkey if needed; return the exit code."""
    # Bind the port first: if it is taken, no Redis needs to start.
    with (
        bind(settings.host, settings.port) if fd is None else inherit(fd) as sock,
        provide_redis(settings) as (settings, redis),
    ):

        def report_ready() -> None:
            if not quiet:
                announce(board_url(settings.host, sock), redis)
            if ready_fd is not None:
                # The process that waited for this line may be gone.
                with contextlib.suppress(OSError):
                    os.write(ready_fd, b"\n")

        if settings.workers > 1:
            return serve_by_workers(settings, sock, report_ready)
        serve(settings, sock, report_ready)
        return 0
