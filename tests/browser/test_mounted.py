"""The page below a path prefix of a host application."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from tests.support.uvicorn_host import UvicornProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page
    from tests.browser.conftest import BoardPage, NamespacePublisher

    from pulseboard.bus.connection.address import RedisAddress

pytestmark = pytest.mark.browser


@pytest.fixture
def serve(address: RedisAddress, namespace: str) -> Iterator[UvicornProcess]:
    """Run the host application. The fixture `page` depends on `serve` and so closes first."""
    env = {
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": f"{namespace}:",
    }
    host_application = UvicornProcess(
        "tests.support.hosted_apps:starlette_app", env=env, prefix="/ops"
    )
    deadline = time.monotonic() + 30
    while not host_application.is_ready():
        assert time.monotonic() < deadline, "the host application did not start"
        time.sleep(0.05)
    yield host_application
    host_application.close()


def test_mounted_page_updates_and_requests_nothing_outside_the_prefix(
    page: Page, board: BoardPage, serve: UvicornProcess, publisher: NamespacePublisher
) -> None:
    requested_paths: list[str] = []
    page.on("request", lambda request: requested_paths.append(urlsplit(request.url).path))
    page.goto(f"{serve.url}/")
    expect(page).to_have_url(f"{serve.url}/services")
    board.expect_connection("connected")
    publisher.publish("balance-sync", {"done": 1})
    board.expect_value("balance-sync", "done", "1")
    page.get_by_role("link", name="Pulseboard").click()
    expect(page).to_have_url(f"{serve.url}/services")
    board.expect_value("balance-sync", "done", "1")
    assert "/ops/api/stream" in requested_paths
    assert all(path.startswith("/ops/") for path in requested_paths)
