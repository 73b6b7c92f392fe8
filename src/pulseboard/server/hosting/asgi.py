"""The board as an ASGI application under any server, or mounted in any application.

Invariant: one core for one event loop, started once, whether the host runs lifespans or not.
"""

import asyncio
from typing import Any, Self, cast

from litestar.types import ASGIApp, HTTPScope, LifeSpanReceive, LifeSpanSend, Receive, Send

from pulseboard.server.app import create_app
from pulseboard.server.http.problems import Problem, send_problem
from pulseboard.server.runtime import Runtime
from pulseboard.server.settings import Settings
from pulseboard.wire.errors import PulseboardError

RETRY = [(b"retry-after", b"2")]

_SCOPE = frozenset(
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
"""What our own framework sees of a request: not what the host's has noted for itself, which may be of the same name."""


class WrongLoop(PulseboardError):
    """This board runs in another event loop of the process: make one Pulseboard() for each."""


class Pulseboard:
    """An ASGI application that serves the board: the page, the streams and the API, below wherever it is mounted.

    It starts with the host's lifespan, with `async with`, or else at its first request. Its streams end, with a `bye`, at the
    signal that stops the host. Without `settings`, they are read when it starts: from the environment and `pulseboard.toml`.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._core: Runtime | None = None
        self._app: ASGIApp | None = None
        self._closed = False

    # Loose, since every framework has types of its own for these three.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await receive()
            await send(
                {"type": "websocket.close", "code": 1000, "reason": "streams are read by HTTP"}
            )

    async def __aenter__(self) -> Self:
        self._closed = False
        core, _ = self._start()
        await core.begun()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End its streams and its core; requests are refused from then on."""
        self._closed = True
        core, self._core = self._core, None
        if core is not None and self._loop is asyncio.get_running_loop():
            await core.close()

    async def _live(self, receive: LifeSpanReceive, send: LifeSpanSend) -> None:
        """Follow the lifespan of a host (ASGI, "Lifespan Protocol")."""
        await receive()
        try:
            async with self:
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except PulseboardError as error:
            await send({"type": "lifespan.startup.failed", "message": f"pulseboard: {error}"})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        try:
            core, app = self._start_for_request()
            await core.begun()
            if core.failed:
                raise Problem(
                    503, "failed", "The server failed inside; its log says how.", headers=RETRY
                )
        except Problem as problem:
            await send_problem(problem, send)
        else:
            await app(_own_scope(scope), receive, send)

    def _start_for_request(self) -> tuple[Runtime, ASGIApp]:
        if self._closed:
            raise Problem(
                503, "stopping", "The server is stopping; try again in a moment.", headers=RETRY
            )
        try:
            return self._start()
        except PulseboardError as error:
            raise Problem(503, "not-configured", f"{error}.") from error

    def _start(self) -> tuple[Runtime, ASGIApp]:
        # Nothing is awaited in here, so that of many first requests one starts it.
        loop = asyncio.get_running_loop()
        if self._core is not None and self._app is not None and self._loop is not None:
            if self._loop is loop:
                return self._core, self._app
            if not self._loop.is_closed():
                raise WrongLoop
        core = Runtime(self._settings or Settings.load())
        core.start()
        self._loop, self._core, self._app = loop, core, cast("ASGIApp", create_app(core))
        return self._core, self._app


def _own_scope(scope: HTTPScope) -> HTTPScope:
    """Return what we are asked, as if we stood at the root.

    Some hosts leave the whole path and tell by `root_path` what of it is theirs (ASGI, "HTTP Connection Scope"), others cut it.
    """
    theirs, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if theirs and (path == theirs or path.startswith(theirs + "/")):
        path = path.removeprefix(theirs)
    own: dict[str, Any] = {name: value for name, value in scope.items() if name in _SCOPE}
    own |= {
        "path": path or "/",
        "raw_path": scope.get("raw_path") or scope["path"].encode(),
        "root_path": "",
    }
    return cast("HTTPScope", own | {"state": {}})
