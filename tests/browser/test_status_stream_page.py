"""The original specification's page and publisher, unchanged, against our server.

The page runs as React in a real browser, the publisher as ioredis in Node.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import EXPECTED_SERVICES
from tests.compatibility import node
from tests.support.valkey import run_valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page, Route
    from tests.support.serve_program import ServerProcess

    from pulseboard.bus.connection.address import RedisAddress

pytestmark = pytest.mark.browser

KEYS = {
    "balance-sync": "balanceSync",
    "account-discovery": "accountDiscovery",
    "account-enrichment": "accountEnrichment",
}
HTML = (
    '<!doctype html><meta charset="utf-8"><div id="root"></div>'
    '<script type="module" src="/original-page/page.js"></script>'
)


@pytest.fixture
def own_redis() -> Iterator[RedisAddress]:
    """Run a separate Redis, because the original publisher uses the shared prefix `service:`."""
    with run_valkey() as valkey:
        yield valkey.address


@pytest.fixture
def status_server(serve: Callable[..., ServerProcess], own_redis: RedisAddress) -> ServerProcess:
    server = serve(
        "--expect", ",".join(EXPECTED_SERVICES), "--channel-prefix", "service:", redis=own_redis
    )
    server.wait_until_ready()
    return server


@pytest.fixture
def messages(page: Page) -> list[tuple[str, Any]]:
    """The messages of the page's EventSource as (event name, data), recorded by the browser."""
    recorded: list[tuple[str, Any]] = []
    session = page.context.new_cdp_session(page)
    session.on(
        "Network.eventSourceMessageReceived",
        lambda event: recorded.append((event["eventName"], json.loads(event["data"]))),
    )
    session.send("Network.enable")
    return recorded


def open_original_page(page: Page, server: ServerProcess) -> None:
    """Open the original page on the server's own origin.

    The test provides only its HTML and script. The API is the server's.
    """
    script = (node.build() / "page" / "page.js").read_text(encoding="utf-8")

    def answer(route: Route) -> None:
        if route.request.url.endswith("/page.js"):
            route.fulfill(body=script, content_type="text/javascript")
        else:
            route.fulfill(body=HTML, content_type="text/html")

    page.route("**/original-page*", answer)
    page.route("**/original-page/**", answer)
    page.goto(f"http://127.0.0.1:{server.port}/original-page")


def updates(count: int) -> list[tuple[str, dict[str, Any]]]:
    """Return (channel, update) pairs of the three services in turn; every tenth is a duplicate."""
    made: list[tuple[str, dict[str, Any]]] = []
    for n in range(count):
        if n % 10 == 9:
            made.append(made[-3])
            continue
        service = EXPECTED_SERVICES[n % 3]
        status = {
            "isRunning": n % 2 == 0,
            "done": n,
            "queue": {"high": n % 5},
            "lastError": None,
            "name": "é ☃",
        }
        made.append(
            (
                f"service:{service}",
                {"service": service, "timestamp": 1_765_600_000_000 + n, "status": status},
            )
        )
    return made


def expect_status(page: Page, status: dict[str, Any]) -> None:
    expect(page.get_by_test_id("original-status")).to_have_text(
        json.dumps(status, ensure_ascii=False, separators=(",", ":"))
    )


def test_the_original_page_shows_every_update_of_the_original_publisher_in_order(
    page: Page,
    status_server: ServerProcess,
    own_redis: RedisAddress,
    messages: list[tuple[str, Any]],
) -> None:
    open_original_page(page, status_server)
    expect(page.get_by_test_id("original-loading")).to_have_count(0)
    expect(page.get_by_text("● Connected")).to_be_visible()
    expect(page.get_by_role("heading", name="Background Services Monitor")).to_be_visible()
    expect_status(page, {"balanceSync": {}, "accountDiscovery": {}, "accountEnrichment": {}})
    assert messages == [
        ("message", {"balanceSync": {}, "accountDiscovery": {}, "accountEnrichment": {}})
    ]

    sent = updates(300)
    node.publish(own_redis, sent)
    latest = {update["service"]: update["status"] for _, update in sent}
    expect_status(page, {key: latest[service] for service, key in KEYS.items()})
    # A distinct last update: when it is visible, every earlier one has arrived.
    last = {"service": "balance-sync", "timestamp": 1, "status": {"last": True}}
    node.publish(own_redis, [("service:balance-sync", last)])
    latest["balance-sync"] = last["status"]
    expect_status(page, {key: latest[service] for service, key in KEYS.items()})

    assert [data for _, data in messages[1:]] == [update for _, update in sent] + [last]
    assert {name for name, _ in messages} == {"message"}
    assert all(list(data) == ["service", "timestamp", "status"] for _, data in messages[1:])


def test_the_original_page_opened_late_has_every_status_in_its_first_message(
    page: Page,
    status_server: ServerProcess,
    own_redis: RedisAddress,
    messages: list[tuple[str, Any]],
) -> None:
    node.publish(own_redis, updates(30))
    latest = {update["service"]: update["status"] for _, update in updates(30)}
    full = {key: latest[service] for service, key in KEYS.items()}
    open_original_page(page, status_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    expect_status(page, full)
    assert messages == [("message", full)]


def test_the_original_polling_fallback_returns_the_first_message(
    page: Page,
    status_server: ServerProcess,
    own_redis: RedisAddress,
    messages: list[tuple[str, Any]],
) -> None:
    node.publish(own_redis, updates(6))
    open_original_page(page, status_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    assert messages[0][1] == page.evaluate(
        "fetch('/api/services/status').then(answer => answer.json())"
    )


@pytest.mark.usefixtures("allow_console_errors")
def test_the_original_page_reloads_itself_when_the_server_returns(
    page: Page, status_server: ServerProcess, own_redis: RedisAddress
) -> None:
    open_original_page(page, status_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    page.evaluate("window.notReloaded = true")
    status_server.stop()
    expect(page.get_by_text("● Disconnected")).to_be_visible()
    status_server.start()
    node.publish(own_redis, updates(3))
    page.wait_for_function(
        "window.notReloaded === undefined"
    )  # the original page reloads after 5 s
    expect(page.get_by_text("● Connected")).to_be_visible()
    expect_status(page, {KEYS[update["service"]]: update["status"] for _, update in updates(3)})


def test_a_service_unknown_to_the_original_page_loses_no_message(
    page: Page,
    status_server: ServerProcess,
    own_redis: RedisAddress,
    messages: list[tuple[str, Any]],
) -> None:
    """The original page shows any unknown service as account-enrichment, but loses no message."""
    open_original_page(page, status_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    other = {"service": "night-report", "timestamp": 1, "status": {"pages": 3}}
    node.publish(own_redis, [("service:night-report", other), *updates(3)])
    latest = {KEYS[update["service"]]: update["status"] for _, update in updates(3)}
    expect_status(page, latest)
    assert [data for _, data in messages[1:]] == [other] + [update for _, update in updates(3)]
