"""Whether a request that changes something may come from where it comes: no other site's page may have a browser send it."""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request

from pulseboard.server.http.problems import Problem


def require_same_site(request: Request[Any, Any, Any]) -> None:
    """Raise a Problem for a request that another site's page may have sent, or could have without the browser asking us.

    A body that is not called JSON is what a page may send anywhere unasked (Fetch, "CORS-safelisted request-header").
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            415, "unsupported-media-type", "Send JSON, and say so: Content-Type: application/json."
        )
    site = request.headers.get("sec-fetch-site")  # Fetch Metadata; a page cannot forge it
    if site in ("same-origin", "none"):
        return
    origin = request.headers.get("origin")
    if site is not None or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise Problem(403, "cross-site", "A page of another site may not do this.")
