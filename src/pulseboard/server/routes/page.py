"""The page, and the files that it is made of."""

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
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
REVALIDATED = {"cache-control": "no-cache"}

_NAMED_BY_CONTENT = re.compile(r".+-[\w-]{8}\.\w+")
"""What Vite calls a file whose content will never be another."""


def make_page() -> list[ControllerRouterHandler]:
    """Return the routes."""

    # Every address is a relative one, also in the page: the board may be mounted anywhere, by a proxy that tells nobody.
    @route("/", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def root(request: Request[Any, Any, Any]) -> Redirect:
        *_, last = _path_as_asked(request).split("/")
        return Redirect(f"{last}/services" if last else "services")

    @route("/services", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def page(request: Request[Any, Any, Any]) -> Response[bytes] | Redirect:
        if _path_as_asked(request).endswith("/"):
            return Redirect("../services")
        index = STATIC / "index.html"
        if not index.is_file():
            raise Problem(
                503,
                "no-page",
                "This installation has no page: it was not built. Run `make serve` in the source tree.",
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
        # Looked for among what is there, never opened by a name that somebody gave.
        name = request.path_params["name"]
        folder = STATIC / "services" / "assets"
        file = (
            next((file for file in folder.iterdir() if file.name == name), None)
            if folder.is_dir()
            else None
        )
        if file is None:
            raise NotFoundException
        caching = IMMUTABLE if _NAMED_BY_CONTENT.fullmatch(name) else REVALIDATED
        kind = guess_type(name)[0] or "application/octet-stream"
        return Response(file.read_bytes(), media_type=kind, headers=SECURITY_HEADERS | caching)

    return [root, page, asset]


def _path_as_asked(request: Request[Any, Any, Any]) -> str:
    """Return the path as it stood in the request: routing has taken its last slash, and a host the front of it."""
    raw: bytes | None = request.scope.get("raw_path")
    return raw.decode("latin-1") if raw else request.scope["path"]
