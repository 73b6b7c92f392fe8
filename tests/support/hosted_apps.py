"""Host applications that mount a board; tests run them with uvicorn."""

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
    """Middleware that holds back the response head, as a compressing middleware does."""

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


# This application forwards no lifespan events: only requests reach the board.
starlette_app = Starlette(routes=[Route("/hello", hello), Mount("/ops", Pulseboard())])

app_with_held_head = Starlette(
    routes=[Mount("/ops", Pulseboard())], middleware=[Middleware(HoldHead)]
)

board = Pulseboard()


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with board:
        yield


with_lifespan = Starlette(routes=[Mount("/ops", board)], lifespan=lifespan)

mounted_board = Pulseboard()


@asgi("/ops", is_mount=True, copy_scope=False)
async def ops(
    scope: litestar.types.Scope, receive: litestar.types.Receive, send: litestar.types.Send
) -> None:
    await mounted_board(scope, receive, send)


@get("/hello", sync_to_thread=False)
def hello_litestar() -> str:
    return "hello"


litestar_app = Litestar([ops, hello_litestar])
