"""The cards of the board while services publish."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Route, expect
from tests.browser.conftest import EXPECTED_SERVICES

from pulseboard.process import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import BoardPage, NamespacePublisher
    from tests.support.serve_program import ServerProcess

pytestmark = pytest.mark.browser

STATUS = {
    "isRunning": True,
    "queueLength": 1234,
    "lastError": "timeout after 30 s",
    "avgDurationMs": 312,
    "lastRun": None,
    "nested": {"high": 2, "deeper": {"low": 0.25}},
    "names": ["alpha", "beta"],
    "enabled": False,
    "note": "ready",
}


def test_page_shows_that_it_loads_until_the_board_arrives(
    page: Page, board: BoardPage, server: ServerProcess
) -> None:
    held_routes: list[Route] = []
    # Playwright accepts no built-in function as a handler.
    page.route("**/api/stream*", lambda route: held_routes.append(route))  # noqa: PLW0108
    page.goto(server.url)
    expect(page.get_by_test_id("loading")).to_be_visible()
    expect(board.connection).to_have_attribute("data-status", "reconnecting")
    expect(page.get_by_test_id("card")).to_have_count(0)
    held_routes[0].continue_()
    expect(page.get_by_test_id("card")).to_have_count(3)
    expect(page.get_by_test_id("loading")).to_have_count(0)
    board.expect_connection("connected")


def test_cards_change_as_messages_arrive(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    services = [publisher.service(name).start() for name in EXPECTED_SERVICES]
    try:
        for step in range(3):
            for index, service in enumerate(services):
                service.update(isRunning=step % 2 == 0, done=step * 10 + index)
            for index, name in enumerate(EXPECTED_SERVICES):
                board.expect_value(name, "done", str(step * 10 + index))
                board.expect_value(name, "isRunning", "Running" if step % 2 == 0 else "Idle")
                board.expect_state(name, "alive")
                expect(board.card(name)).to_contain_text("updated 0 s ago")
    finally:
        for service in services:
            service.stop()


def test_external_message_creates_and_updates_its_card(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    board.expect_state("balance-sync", "missing")
    for done in (1, 2):
        publisher.publish("balance-sync", {"done": done})
        board.expect_value("balance-sync", "done", str(done))
    expect(board.card("balance-sync")).to_have_count(1)
    board.expect_state("balance-sync", "silent")  # it declares no heartbeat interval


def test_every_field_of_a_status_is_visible(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish("balance-sync", STATUS)
    board.expect_value("balance-sync", "isRunning", "Running")
    for field, text in {
        "queueLength": "1,234",
        "lastError": "timeout after 30 s",
        "avgDurationMs": "312 ms",
        "lastRun": "—nothing",
        "nested.high": "2",
        "nested.deeper.low": "0.25",
        "names": "alphabeta",
        "enabled": "no",
        "note": "ready",
    }.items():
        board.expect_value("balance-sync", field, text)
        expect(board.value("balance-sync", field)).to_be_visible()


def test_status_of_many_fields_shows_all_of_them_on_request(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish("balance-sync", {f"field{n}": n for n in range(40)})
    rows = board.card("balance-sync").locator("[data-field]")
    more = board.card("balance-sync").get_by_role("button", name="more fields")
    expect(more).to_be_visible()
    assert rows.count() < 40
    more.click()
    expect(rows).to_have_count(40)
    expect(board.value("balance-sync", "field39")).to_have_text("39")


def test_unexpected_service_appears_by_itself(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], publisher: NamespacePublisher
) -> None:
    server = serve()
    server.wait_until_ready()
    page.goto(server.url)
    expect(page.get_by_test_id("empty")).to_be_visible()
    publisher.publish("night-report", {"phase": "printing"})
    board.expect_value("night-report", "phase", "Printing")
    expect(page.get_by_test_id("empty")).to_have_count(0)


def test_expected_services_have_cards_before_they_are_seen(
    page: Page, board: BoardPage, server: ServerProcess
) -> None:
    page.goto(server.url)
    for name in EXPECTED_SERVICES:
        board.expect_state(name, "missing")
        expect(board.card(name)).to_contain_text("not seen yet")
    expect(page).to_have_title("(3) Background Services Monitor")


def test_each_instance_has_a_card_and_many_instances_have_a_heading(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    with (
        publisher.service("balance-sync", instance="a") as a,
        publisher.service("balance-sync", instance="b") as b,
    ):
        a.update(done=1)
        b.update(done=2)
        for instance, done in (("a", "1"), ("b", "2")):
            expect(
                board.card("balance-sync", instance).locator("[data-field=done] [data-value]")
            ).to_have_text(done)
        expect(page.get_by_test_id("group")).to_have_count(0)
        with publisher.service("balance-sync", instance="c") as c:
            c.update(done=3)
            expect(page.get_by_test_id("group")).to_have_attribute("data-service", "balance-sync")
            expect(page.get_by_test_id("group").get_by_test_id("card")).to_have_count(3)


KILLED_PROGRAM = """
import sys, time
from pulseboard import Service
name, url, namespace = sys.argv[1:]
address = {"redis_url": url, "namespace": namespace, "channel_prefix": namespace + ":"}
with Service(name, heartbeat_s=1, instance="one", **address) as service:
    service.update(done=1)
    time.sleep(600)
"""


def test_killed_service_becomes_late_then_lost_while_others_stay_alive(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    argv = [
        sys.executable,
        "-c",
        KILLED_PROGRAM,
        "balance-sync",
        publisher.address.url,
        publisher.namespace,
    ]
    # The other service has a heartbeat interval longer than the test: a busy machine cannot make it
    # late.
    with (
        publisher.service("account-discovery", heartbeat_s=60) as running_service,
        spawn(argv, stdout=subprocess.DEVNULL) as killed,
    ):
        running_service.update(done=1)
        for name in ("balance-sync", "account-discovery"):
            board.expect_state(name, "alive")
        # The state `late` lasts for 1 s. A busy test process could miss it, so the page records it.
        page.evaluate(
            """() => {
              window.states = {};
              for (const card of document.querySelectorAll("[data-testid=card]")) {
                const states = (window.states[card.dataset.service] = [card.dataset.state]);
                const observer = new MutationObserver(() => states.push(card.dataset.state));
                observer.observe(card, { attributeFilter: ["data-state"] });
              }
            }"""
        )
        killed.kill()
        board.expect_state("balance-sync", "lost")
        board.expect_state("account-discovery", "alive")
        expect(board.card("balance-sync")).to_contain_text("last seen")
        states = page.evaluate("window.states")
        assert states["balance-sync"] == ["alive", "late", "lost"]
        assert states["account-discovery"] == ["alive"]


def test_service_that_stops_gracefully_is_stopped_and_not_lost(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    with publisher.service("balance-sync", heartbeat_s=0.5) as service:
        service.update(done=7)
        board.expect_state("balance-sync", "alive")
    board.expect_state("balance-sync", "stopped")
    board.expect_value("balance-sync", "done", "7")


def test_page_opened_later_shows_earlier_statuses(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    with publisher.service("balance-sync") as service:
        service.update(done=41)
        page.goto(server.url)
        board.expect_value("balance-sync", "done", "41")
        service.update(done=42)
        board.expect_value("balance-sync", "done", "42")


def test_two_servers_on_one_redis_show_the_same_board(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], publisher: NamespacePublisher
) -> None:
    one, other = serve(), serve()
    for server in (one, other):
        server.wait_until_ready()
    publisher.publish("balance-sync", {"done": 1})
    for server in (one, other):
        page.goto(server.url)
        board.expect_value("balance-sync", "done", "1")
        expect(page.get_by_test_id("card")).to_have_count(1)
