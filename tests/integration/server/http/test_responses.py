"""The page and simple responses: headers, caching, and machine-readable errors."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.server import ServeFixture, Server, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.server.api import page as page_module
from pulseboard.server.settings import Settings
from pulseboard.server.version import VERSION

PAGE = "<!doctype html><title>Background Services Monitor</title>"


@pytest.fixture(scope="module")
def server(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with a built page; the tests share it because they only read."""
    root = tmp_path_factory.mktemp("page")
    static = root / "static"
    assets = static / "services" / "assets"
    assets.mkdir(parents=True)
    (static / "index.html").write_text(PAGE)
    (assets / "index-CqFl973_.js").write_text("export {}")
    (assets / "favicon.svg").write_text("<svg/>")
    (root / "secret.txt").write_text("hunter2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "STATIC", static)
        with Server(Settings.load(redis_url=valkey.address.url, namespace="test-http")) as server:
            asyncio.run(eventually(server.is_ready))
            yield server


def test_page_is_served_with_headers_that_forbid_foreign_content(server: Server) -> None:
    answer = server.get("/services")
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(("path", "location"), [("/", "services"), ("/services/", "../services")])
def test_addresses_near_the_page_redirect_to_it_with_a_relative_location(
    server: Server, path: str, location: str
) -> None:
    """The server does not know a prefix that a proxy strips, so the location is relative.

    From `/services/` the relative addresses in the page would be wrong.
    """
    answer = server.get(path)
    assert answer.is_redirect
    assert answer.headers["location"] == location


def test_only_assets_with_a_content_hash_are_immutable(server: Server) -> None:
    """Browsers kept an old `/services/index.html` for a year after the page had changed."""
    script = server.get("/services/assets/index-CqFl973_.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["content-type"]
    assert script.headers["x-content-type-options"] == "nosniff"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    icon = server.get("/services/assets/favicon.svg")
    assert icon.status_code == 200
    assert "immutable" not in icon.headers["cache-control"]
    index = server.get("/services/index.html")
    assert index.status_code == 404 or "immutable" not in index.headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api/nothing",
        "/services/nothing.js",
        "/services/assets/../../secret.txt",
        "/services/..%2fsecret.txt",
        "/services/assets/%2e%2e/%2e%2e/secret.txt",
        "/services/assets",
        "/%00",
        "/services/assets/%00",
        "/services/assets/" + "x" * 5_000,
        "/api/stream/more",
    ],
)
def test_unknown_path_is_answered_with_a_problem(server: Server, path: str) -> None:
    answer = server.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["title"]) == (404, "not-found", "Not Found")
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/api/services/status", "/healthz", "/readyz", "/services"])
def test_wrong_method_is_answered_with_a_problem_and_the_allowed_methods(
    server: Server, path: str
) -> None:
    answer = server.request("POST", path, content=b"{}")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "method-not-allowed"
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/api/services/status", "/healthz", "/readyz", "/services"])
def test_every_readable_path_answers_head(server: Server, path: str) -> None:
    """RFC 9110, 9.1: GET and HEAD must be supported; monitoring programs use HEAD."""
    answer = server.request("HEAD", path)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-type"] == server.get(path).headers["content-type"]


def test_health_reports_the_version_and_the_counts(server: Server) -> None:
    health = server.health()
    assert health.pop("tasks") > 0
    assert abs(health.pop("now") - time.time() * 1000) < 60_000
    assert health == {
        "status": "alive",
        "version": VERSION,
        "clients": 0,
        "instances": 0,
        "dropped": {},
        "coverage_gaps": 0,
    }
    assert server.get("/readyz").json()["status"] == "ready"
    for path in ("/healthz", "/readyz"):
        assert server.get(path).headers["cache-control"] == "no-store"


def test_internal_error_is_a_problem_that_hides_its_cause(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(server.runtime.hub.board, "snapshot", fail)
    answer = server.get("/api/services/status")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal-error"
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


def test_openapi_document_lists_the_paths(server: Server) -> None:
    paths = server.get("/schema/openapi.json").json()["paths"]
    assert {"/api/services/status", "/healthz", "/readyz"} <= set(paths)


def test_installation_without_the_page_explains_how_to_build_it(
    serve: ServeFixture, address: RedisAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "STATIC", tmp_path / "nothing")
    answer = serve(address).get("/services")
    assert answer.status_code == 503
    assert answer.json()["code"] == "no-page"
    assert "make " in answer.json()["detail"]
