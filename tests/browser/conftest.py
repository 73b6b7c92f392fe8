"""Fixtures of browser tests: a real Chromium and real servers.

Tests wait for changes of the page instead of fixed times, where possible.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright
from tests.support.serve_program import ServerProcess
from tests.support.valkey import address, raw, valkey

from pulseboard import Service
from pulseboard.bus import publisher as bus
from pulseboard.bus.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulseboard.bus.connection.address import RedisAddress

__all__ = ["address", "raw", "valkey"]

EXPECTED_SERVICES = ("balance-sync", "account-discovery", "account-enrichment")

# Console messages of a page whose server is unavailable; any other message fails the test.
SERVER_UNAVAILABLE = (
    "net::ERR_CONNECTION_REFUSED",
    "net::ERR_INCOMPLETE_CHUNKED_ENCODING",
    "net::ERR_CONNECTION_RESET",
    "net::ERR_EMPTY_RESPONSE",
    "status of 503",
)

# The limit fits two busy cores; a working page answers much sooner.
expect.set_options(timeout=15_000)


class NamespacePublisher:
    """Publishes in one namespace, with the SDK or as an external program."""

    def __init__(self, address: RedisAddress, namespace: str) -> None:
        self.address = address
        self.namespace = namespace

    def service(self, name: str, *, heartbeat_s: float = 5.0, instance: str = "one") -> Service:
        return Service(
            name,
            heartbeat_s=heartbeat_s,
            instance=instance,
            redis_url=self.address.url,
            namespace=self.namespace,
            channel_prefix=f"{self.namespace}:",
        )

    def publish_as_service(
        self,
        service: str,
        status: dict[str, Any],
        *,
        instance: str = "one",
        heartbeat_s: float = 60,
    ) -> None:
        """Publish one status as the SDK does, without its background thread and batching."""
        now_ms = time.time_ns() // 1_000_000
        event = {
            "service": service,
            "timestamp": now_ms,
            "status": status,
            "instance": instance,
            "heartbeat_s": heartbeat_s,
        }
        with contextlib.closing(
            bus.Publisher(self.address, Keys(self.namespace), prefix=f"{self.namespace}:")
        ) as bus_publisher:
            bus_publisher.publish([bus.Outgoing(service, instance, json.dumps(event).encode())])

    def publish(self, service: str, status: dict[str, Any], **more: Any) -> None:
        """PUBLISH an external message, in the shape of the original specification."""
        event = {
            "service": service,
            "timestamp": time.time_ns() // 1_000_000,
            "status": status,
            **more,
        }
        with redis.Redis(host=self.address.host, port=self.address.port, protocol=2) as client:
            assert client.publish(f"{self.namespace}:{service}", json.dumps(event)), (
                "no server is subscribed"
            )


class BoardPage:
    """The page of the board, with locators and expectations."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def card(self, service: str, instance: str | None = None) -> Locator:
        selector = f"[data-instance='{instance}']" if instance is not None else ""
        return self.page.locator(f"[data-testid=card][data-service='{service}']{selector}")

    def value(self, service: str, field: str) -> Locator:
        return self.card(service).locator(f'[data-field="{field}"] [data-value]')

    def state_note(self, service: str) -> Locator:
        return self.card(service).get_by_test_id("state-note")

    def end(self, service: str) -> Locator:
        return self.card(service).get_by_test_id("end")

    @property
    def connection(self) -> Locator:
        return self.page.get_by_test_id("connection")

    def expect_state(self, service: str, state: str) -> None:
        expect(self.card(service)).to_have_attribute("data-state", state)

    def expect_value(self, service: str, field: str, text: str) -> None:
        expect(self.value(service, field)).to_have_text(text)

    def expect_connection(self, status: str) -> None:
        expect(self.connection).to_have_attribute("data-status", status)

    def expect_stale(self, stale: bool) -> None:
        expect(self.page.locator("main")).to_have_attribute("data-stale", str(stale).lower())

    def overflow_px(self) -> int:
        """Return by how many px the page is wider than its window."""
        overflow: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return overflow


def find_chromium() -> str:
    configured = os.environ.get("PULSEBOARD_CHROMIUM")
    found = configured or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "no Chromium found: set PULSEBOARD_CHROMIUM to its path"
        )
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find_chromium()) as browser,
    ):
        yield browser


@pytest.fixture
def allow_server_unavailable() -> None:
    """Allow console errors about an unavailable server."""


@pytest.fixture
def board(page: Page) -> BoardPage:
    return BoardPage(page)


@pytest.fixture
def publisher(address: RedisAddress, namespace: str) -> NamespacePublisher:
    return NamespacePublisher(address, namespace)


@pytest.fixture
def serve(address: RedisAddress, namespace: str) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers in the namespace of the test, on the session's Redis or the one at `redis`."""
    started: list[ServerProcess] = []

    def start(*options: str, redis: RedisAddress = address) -> ServerProcess:
        started.append(ServerProcess(redis, namespace, *options))
        return started[-1].start()

    yield start
    for server in started:
        server.close()


@pytest.fixture
def allow_console_errors() -> None:
    """Allow the page under test to log errors to the console, as the original page does."""


@pytest.fixture
def page(browser: Browser, serve: object, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page with its own browser profile. An error or warning on its console fails the test.

    It depends on `serve`, so that it is closed before the servers.
    """
    console_errors: list[str] = []
    allowed: tuple[str, ...] = (
        SERVER_UNAVAILABLE if "allow_server_unavailable" in request.fixturenames else ()
    )
    if "allow_console_errors" in request.fixturenames:
        allowed = ("",)

    def record_error(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(
            text in message.text for text in allowed
        ):
            console_errors.append(f"{message.type}: {message.text}")

    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event =>"
            " console.error('CSP', event.violatedDirective, event.blockedURI))"
        )
        page.on("console", record_error)
        page.on("pageerror", lambda error: console_errors.append(f"exception: {error}"))
        yield page
        page.evaluate("0")  # wait until every earlier console message has arrived
    assert console_errors == []


@pytest.fixture
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    """A ready server that expects the three services of the original specification."""
    server = serve("--expect", ",".join(EXPECTED_SERVICES))
    server.wait_until_ready()
    return server
