"""`GET /services`: the page, and the files that it loads."""

import re
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from litestar import Request, Response, route
from litestar.exceptions import NotFoundException
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from pulseboard.server.http.problems import Problem
from pulseboard.server.http.responses import READ

STATIC = Path(__file__).parents[1] / "static"

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
REVALIDATED = {"cache-control": "no-cache"}

_HASHED_NAME = re.compile(r".+-[\w-]{8}\.\w+")
"""The name that Vite gives to a file: with a hash, so the file never changes."""


def routes() -> list[ControllerRouterHandler]:
    """Return the routes of the page."""

    # All addresses are relative, also in the page: a proxy may mount the board at any path
    # without telling the server.
    @route("/", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def root(request: Request[Any, Any, Any]) -> Redirect:
        *_, last = _requested_path(request).split("/")
        return Redirect(f"{last}/services" if last else "services")

    @route("/services", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def page(request: Request[Any, Any, Any]) -> Response[bytes] | Redirect:
        if _requested_path(request).endswith("/"):
            return Redirect("../services")
        index = STATIC / "index.html"
        if not index.is_file():
            raise Problem(
                503,
                "no-page",
                "This installation has no page, because it was not built: "
                "run `make serve` in the source tree.",
            )
        return Response(
            index.read_bytes(),
            media_type="text/html; charset=utf-8",
            headers=SECURITY_HEADERS | REVALIDATED,
        )

    @route(
        "/services/assets/{name:str}",
        http_method=READ,
        include_in_schema=False,
        sync_to_thread=False,
    )
    def asset(request: Request[Any, Any, Any]) -> Response[bytes]:
        # The name is compared with those of existing files and never used as a path.
        name = request.path_params["name"]
        folder = STATIC / "services" / "assets"
        files = folder.iterdir() if folder.is_dir() else ()
        file = next((file for file in files if file.name == name), None)
        if file is None:
            raise NotFoundException
        caching = IMMUTABLE if _HASHED_NAME.fullmatch(name) else REVALIDATED
        kind = guess_type(name)[0] or "application/octet-stream"
        return Response(file.read_bytes(), media_type=kind, headers=SECURITY_HEADERS | caching)

    return [root, page, asset]


def _requested_path(request: Request[Any, Any, Any]) -> str:
    """Return the path of the request line.

    Routing removes the final slash, and a host application the path at which the board is mounted.
    """
    raw: bytes | None = request.scope.get("raw_path")
    return raw.decode("latin-1") if raw else request.scope["path"]
