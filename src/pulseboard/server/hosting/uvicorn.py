"""Running the server in a process of its own, under uvicorn.

The runtime ends the streams at the stop signal, so uvicorn does not wait for them.
"""

import socket
from collections.abc import Callable

import uvicorn

from pulseboard.server.app import create_app
from pulseboard.server.hosting.socket import BACKLOG, raise_file_limit
from pulseboard.server.runtime import Runtime
from pulseboard.server.settings import Settings
from pulseboard.server.streaming.uvicorn_protocol import StreamProtocol
from pulseboard.wire.errors import PulseboardError

SHUTDOWN_S = 2
"""How long uvicorn waits for open requests when it stops."""


class ServerFailed(PulseboardError):
    """The server failed internally: see its log for the reason."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # uvicorn would raise the signal again, and the caller of `serve` could not clean up.
        self._captured_signals.clear()


def serve(settings: Settings, sock: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `on_ready` once the server accepts requests.

    Raise ServerFailed.
    """
    runtime = Runtime(settings, on_failure=lambda: setattr(server, "should_exit", True))
    config = uvicorn.Config(
        create_app(runtime),
        http=StreamProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        # A proxy on this machine may name the client's address in `X-Forwarded-For`.
        proxy_headers=True,
        forwarded_allow_ips="127.0.0.1",
        backlog=BACKLOG,
    )
    server = _Server(config, on_ready)
    raise_file_limit()
    with sock:
        server.run([sock])
    if runtime.failed:
        raise ServerFailed
