"""The board as an ASGI application: under any server, or mounted in another application.

Invariant: there is one runtime per event loop, started once, whether or not the server runs the
lifespan protocol.
"""

import asyncio
from typing import Any, Self, cast

from litestar.types import ASGIApp, HTTPScope, LifeSpanReceive, LifeSpanSend, Receive, Send

from pulseboard.server.app import create_app
from pulseboard.server.http.problems import RETRY_SOON, Problem, send_problem, stopping_problem
from pulseboard.server.runtime import Runtime
from pulseboard.server.settings import Settings
from pulseboard.wire.errors import PulseboardError

_SCOPE_KEYS = frozenset(
    (
        "type",
        "asgi",
        "http_version",
        "server",
        "client",
        "scheme",
        "method",
        "headers",
        "query_string",
        "extensions",
    )
)
"""The keys of a scope that our framework gets.

The host application's framework may have added keys that ours uses too.
"""


class WrongLoop(PulseboardError):
    """This Pulseboard runs in another event loop of the process: make one Pulseboard() for each."""


class Pulseboard:
    """An ASGI application with the page, the streams and the API, for any mount path.

    It starts with the lifespan of the server, with `async with`, or else at its first request.
    Its streams end with a `bye` at the signal that stops the server. Without `settings`, it
    reads them from the environment and `pulseboard.toml` when it starts.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._app: ASGIApp | None = None
        self._closed = False

    # Any, because each framework has its own types for these three.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)
        else:
            await receive()
            reason = "use HTTP: the streams are Server-Sent Events"
            await send({"type": "websocket.close", "code": 1000, "reason": reason})

    async def __aenter__(self) -> Self:
        self._closed = False
        runtime, _ = self._start()
        await runtime.wait_for_board()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the streams and the runtime; later requests are refused."""
        self._closed = True
        runtime, self._runtime = self._runtime, None
        if runtime is not None and self._loop is asyncio.get_running_loop():
            await runtime.close()

    async def _run_lifespan(self, receive: LifeSpanReceive, send: LifeSpanSend) -> None:
        """Follow the lifespan of the server (ASGI, "Lifespan Protocol")."""
        await receive()
        try:
            async with self:
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except PulseboardError as error:
            await send({"type": "lifespan.startup.failed", "message": f"pulseboard: {error}"})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        try:
            runtime, app = self._start_for_request()
            await runtime.wait_for_board()
            if runtime.failed:
                detail = "The server failed internally: see its log for the reason."
                raise Problem(503, "failed", detail, headers=RETRY_SOON)
        except Problem as problem:
            await send_problem(problem, send)
        else:
            await app(_make_own_scope(scope), receive, send)

    def _start_for_request(self) -> tuple[Runtime, ASGIApp]:
        if self._closed:
            raise stopping_problem()
        try:
            return self._start()
        except PulseboardError as error:
            raise Problem(503, "not-configured", f"{error}.") from error

    def _start(self) -> tuple[Runtime, ASGIApp]:
        # Without any `await`, so that only the first of many concurrent requests starts a runtime.
        loop = asyncio.get_running_loop()
        if self._runtime is not None and self._app is not None and self._loop is not None:
            if self._loop is loop:
                return self._runtime, self._app
            if not self._loop.is_closed():
                raise WrongLoop
        runtime = Runtime(self._settings or Settings.load())
        runtime.start()
        self._loop, self._runtime = loop, runtime
        self._app = cast("ASGIApp", create_app(runtime))
        return self._runtime, self._app


def _make_own_scope(scope: HTTPScope) -> HTTPScope:
    """Return the scope as if the board were mounted at the root.

    Some host applications keep the whole path and give their part of it in `root_path`
    (ASGI, "HTTP Connection Scope"), others remove it from the path.
    """
    mount_path, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if mount_path and (path == mount_path or path.startswith(mount_path + "/")):
        path = path.removeprefix(mount_path)
    own: dict[str, Any] = {name: value for name, value in scope.items() if name in _SCOPE_KEYS}
    own |= {
        "path": path or "/",
        "raw_path": scope.get("raw_path") or scope["path"].encode(),
        "root_path": "",
    }
    return cast("HTTPScope", own | {"state": {}})
