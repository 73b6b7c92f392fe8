"""Protection against cross-site requests: a page of another site must not send commands."""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request

from pulseboard.server.http.problems import Problem


def require_same_site(request: Request[Any, Any, Any]) -> None:
    """Raise a Problem for a request that a page of another site may have sent.

    The content type must be JSON. A browser sends JSON to another site only after a preflight
    request, which the server does not allow; it sends plain text and forms without one (Fetch
    standard, "CORS-safelisted request-header").
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            415,
            "unsupported-media-type",
            "The body must be JSON: send it with the header Content-Type: application/json.",
        )
    site = request.headers.get("sec-fetch-site")  # only the browser can set it (Fetch Metadata)
    if site in ("same-origin", "none"):
        return
    origin = request.headers.get("origin")
    if site is not None or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Problem(
            403,
            "cross-site",
            "A page of another site may not send this request: use the page of this server.",
        )
