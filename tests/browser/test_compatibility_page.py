"""The specification's own page and publisher, word for word, against our server: React in a real browser, ioredis in Node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import SEED_SERVICES
from tests.seed import node
from tests.support.valkey import run_valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page, Route
    from tests.support.serve_program import Server

    from pulseboard.bus.connection.address import RedisAddress

pytestmark = pytest.mark.browser

KEYS = {
    "balance-sync": "balanceSync",
    "account-discovery": "accountDiscovery",
    "account-enrichment": "accountEnrichment",
}
SHELL = '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="/seed-test/page.js"></script>'


@pytest.fixture
def own_redis() -> Iterator[RedisAddress]:
    """The seed's publisher speaks on `service:` alone, so this Redis is not shared."""
    with run_valkey() as valkey:
        yield valkey.address


@pytest.fixture
def seed_server(serve: Callable[..., Server], own_redis: RedisAddress) -> Server:
    server = serve(
        "--expect", ",".join(SEED_SERVICES), "--channel-prefix", "service:", redis=own_redis
    )
    server.wait_until_ready()
    return server


@pytest.fixture
def messages(page: Page) -> list[tuple[str, Any]]:
    """What the browser's EventSource hands to the page, each as (event name, data), seen from outside the page."""
    seen: list[tuple[str, Any]] = []
    session = page.context.new_cdp_session(page)
    session.on(
        "Network.eventSourceMessageReceived",
        lambda event: seen.append((event["eventName"], json.loads(event["data"]))),
    )
    session.send("Network.enable")
    return seen


def open_seed_page(page: Page, server: Server) -> None:
    """Open the seed's page on the server's own origin. Only its HTML and script are ours; the API is the server."""
    script = (node.build() / "page" / "page.js").read_text(encoding="utf-8")

    def answer(route: Route) -> None:
        if route.request.url.endswith("/page.js"):
            route.fulfill(body=script, content_type="text/javascript")
        else:
            route.fulfill(body=SHELL, content_type="text/html")

    page.route("**/seed-test*", answer)
    page.route("**/seed-test/**", answer)
    page.goto(f"http://127.0.0.1:{server.port}/seed-test")


def updates(count: int) -> list[tuple[str, dict[str, Any]]]:
    """Return (channel, update) pairs by the three services in turn; every tenth is word for word the one before its like."""
    made: list[tuple[str, dict[str, Any]]] = []
    for n in range(count):
        if n % 10 == 9:
            made.append(made[-3])
            continue
        service = SEED_SERVICES[n % 3]
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
    expect(page.get_by_test_id("seed-status")).to_have_text(
        json.dumps(status, ensure_ascii=False, separators=(",", ":"))
    )


def test_the_seeds_page_shows_all_that_the_seeds_publisher_says_in_its_order(
    page: Page, seed_server: Server, own_redis: RedisAddress, messages: list[tuple[str, Any]]
) -> None:
    open_seed_page(page, seed_server)
    expect(page.get_by_test_id("seed-loading")).to_have_count(0)
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
    # An end that is told apart from all before it, so that everything before it has come too.
    last = {"service": "balance-sync", "timestamp": 1, "status": {"last": True}}
    node.publish(own_redis, [("service:balance-sync", last)])
    latest["balance-sync"] = last["status"]
    expect_status(page, {key: latest[service] for service, key in KEYS.items()})

    assert [data for _, data in messages[1:]] == [update for _, update in sent] + [last]
    assert {name for name, _ in messages} == {"message"}
    assert all(list(data) == ["service", "timestamp", "status"] for _, data in messages[1:])


def test_the_seeds_page_opened_late_has_everything_in_its_first_message(
    page: Page, seed_server: Server, own_redis: RedisAddress, messages: list[tuple[str, Any]]
) -> None:
    node.publish(own_redis, updates(30))
    latest = {update["service"]: update["status"] for _, update in updates(30)}
    full = {key: latest[service] for service, key in KEYS.items()}
    open_seed_page(page, seed_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    expect_status(page, full)
    assert messages == [("message", full)]


def test_the_seeds_polling_fallback_and_its_first_message_say_the_same(
    page: Page, seed_server: Server, own_redis: RedisAddress, messages: list[tuple[str, Any]]
) -> None:
    node.publish(own_redis, updates(6))
    open_seed_page(page, seed_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    assert messages[0][1] == page.evaluate(
        "fetch('/api/services/status').then(answer => answer.json())"
    )


@pytest.mark.usefixtures("tells_of_its_errors")
def test_the_seeds_page_reloads_itself_when_the_server_comes_back(
    page: Page, seed_server: Server, own_redis: RedisAddress
) -> None:
    open_seed_page(page, seed_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    page.evaluate("window.notReloaded = true")
    seed_server.stop()
    expect(page.get_by_text("● Disconnected")).to_be_visible()
    seed_server.start()
    node.publish(own_redis, updates(3))
    page.wait_for_function("window.notReloaded === undefined")  # its own way, after 5 s
    expect(page.get_by_text("● Connected")).to_be_visible()
    expect_status(page, {KEYS[update["service"]]: update["status"] for _, update in updates(3)})


def test_a_service_the_seed_does_not_know_leaves_its_page_whole(
    page: Page, seed_server: Server, own_redis: RedisAddress, messages: list[tuple[str, Any]]
) -> None:
    """The seed's page takes any other name for account-enrichment; that is its own affair. It must not lose a message."""
    open_seed_page(page, seed_server)
    expect(page.get_by_text("● Connected")).to_be_visible()
    other = {"service": "night-report", "timestamp": 1, "status": {"pages": 3}}
    node.publish(own_redis, [("service:night-report", other), *updates(3)])
    latest = {KEYS[update["service"]]: update["status"] for _, update in updates(3)}
    expect_status(page, latest)
    assert [data for _, data in messages[1:]] == [other] + [update for _, update in updates(3)]
