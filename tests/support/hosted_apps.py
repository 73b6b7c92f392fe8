"""Other people's applications with a board mounted in them; run by uvicorn, as their owners do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import litestar.types
from litestar import Litestar, asgi, get
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pulseboard.server import Pulseboard


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


class HoldHead:
    """As middleware does that may yet change the head, one that compresses for example."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)
            if message["type"] != "http.response.start":
                while held:
                    await send(held.pop(0))

        await self.app(scope, receive, hold)


# It forwards no lifespan: nothing but requests ever reaches the board.
starlette_app = Starlette(routes=[Route("/hello", hello), Mount("/ops", Pulseboard())])

holding = Starlette(routes=[Mount("/ops", Pulseboard())], middleware=[Middleware(HoldHead)])

board = Pulseboard()


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with board:
        yield


with_lifespan = Starlette(routes=[Mount("/ops", board)], lifespan=lifespan)

guest = Pulseboard()


@asgi("/ops", is_mount=True, copy_scope=False)
async def ops(
    scope: litestar.types.Scope, receive: litestar.types.Receive, send: litestar.types.Send
) -> None:
    await guest(scope, receive, send)


@get("/hello", sync_to_thread=False)
def hello_litestar() -> str:
    return "hello"


litestar_app = Litestar([ops, hello_litestar])
