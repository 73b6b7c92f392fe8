"""Other people's applications with a board mounted in them; run by uvicorn, as their owners do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from litestar import Litestar, asgi, get
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from pulseboard.server import Pulseboard


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


# It forwards no lifespan: nothing but requests ever reaches the board.
starlette = Starlette(routes=[Route("/hello", hello), Mount("/ops", Pulseboard())])

# Its middleware takes every answer apart and puts it together again.
buffering = Starlette(
    routes=[Mount("/ops", Pulseboard())], middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
)

board = Pulseboard()


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with board:
        yield


with_lifespan = Starlette(routes=[Mount("/ops", board)], lifespan=lifespan)

guest = Pulseboard()


@asgi("/ops", is_mount=True, copy_scope=False)
async def ops(scope: Scope, receive: Receive, send: Send) -> None:
    await guest(scope, receive, send)


@get("/hello", sync_to_thread=False)
def hello_litestar() -> str:
    return "hello"


litestar = Litestar([ops, hello_litestar])
