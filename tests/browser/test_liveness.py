"""Services that stop sending, announce a planned return, or do not return."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page
    from tests.browser.conftest import BoardPage, NamespacePublisher
    from tests.support.serve_program import ServerProcess

pytestmark = pytest.mark.browser


def test_late_service_shows_a_countdown_to_its_loss(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish("balance-sync", {"phase": "syncing"}, heartbeat_s=2, instance="one")
    board.expect_value("balance-sync", "phase", "Syncing")
    expect(board.state_note("balance-sync")).to_have_text(re.compile(r"^lost in 0:0[0-2]$"))
    board.expect_state("balance-sync", "lost")
    expect(board.state_note("balance-sync")).to_have_count(0)
    expect(board.end("balance-sync")).to_have_text(re.compile(r"^No heartbeat for \d+ s$"))
    board.expect_value(
        "balance-sync", "phase", "syncing"
    )  # a row of the status, because the service is not running
    publisher.publish("balance-sync", {"phase": "syncing"}, heartbeat_s=60, instance="one")
    board.expect_state("balance-sync", "alive")
    board.expect_value("balance-sync", "phase", "Syncing")


def test_planned_return_shows_a_countdown_and_is_lost_only_when_missed(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    service = publisher.service("balance-sync", instance="one").start()
    service.update(phase="draining")
    board.expect_state("balance-sync", "alive")
    service.stop(back_in_s=4)
    board.expect_state("balance-sync", "stopped")
    expect(board.end("balance-sync")).to_have_text(re.compile(r"^Back in 0:0[1-4]$"))
    expect(board.end("balance-sync")).to_have_text(re.compile(r"^Overdue by 0:0\d$"))
    board.expect_state("balance-sync", "stopped")
    expect(page.get_by_test_id("incident-tally")).to_have_count(0)
    board.expect_state("balance-sync", "lost")
    expect(page.get_by_test_id("incident-tally")).to_have_text("1incident")

    with publisher.service("balance-sync", instance="one") as service:
        service.update(phase="working")
        board.expect_state("balance-sync", "alive")
        page.get_by_test_id("incident-tally").click()
        incident = page.get_by_test_id("incident")
        expect(incident).to_contain_text("missed its return")
        expect(incident).to_have_attribute("data-outcome", "returned")


def test_successor_replaces_the_instance_with_a_planned_return(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    service = publisher.service("balance-sync", instance="one").start()
    service.update(done=1)
    board.expect_state("balance-sync", "alive")
    service.stop(back_in_s=60)
    expect(board.end("balance-sync")).to_contain_text("Back in")
    with publisher.service("balance-sync", instance="two") as successor:
        successor.update(done=2)
        expect(board.card("balance-sync", "two")).to_have_attribute("data-state", "alive")
        expect(board.card("balance-sync")).to_have_count(1)


def focus(page: Page, button: Locator) -> None:
    """Move the keyboard focus to a button with the Tab key."""
    expect(button).to_be_visible()
    for _ in range(20):
        if button.evaluate("button => button === document.activeElement"):
            return
        page.keyboard.press("Tab")
    expect(button).to_be_focused()


def test_incidents_and_last_words_work_by_keyboard_and_stay_in_the_url(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish(
        "balance-sync", {"done": 41, "lastError": "boom"}, heartbeat_s=0.5, instance="one"
    )
    board.expect_state("balance-sync", "lost")
    tally = page.get_by_test_id("incident-tally")
    focus(page, tally)
    page.keyboard.press("Enter")
    incident = page.get_by_test_id("incident")
    expect(incident).to_contain_text("balance-sync one")
    expect(incident).to_have_attribute("data-outcome", "lost")
    expect(page).to_have_url(f"{server.url}?incidents=open")

    focus(page, incident.get_by_role("button"))
    page.keyboard.press("Enter")
    last_words = page.get_by_test_id("last-words")
    expect(last_words.locator("[data-field=done] [data-value]")).to_have_text("41")
    expect(last_words.locator("[data-field=lastError]")).to_contain_text("boom")
    expect(page).to_have_url(re.compile(r"\?incidents=\d+-\d+$"))
    page.reload()
    expect(last_words.locator("[data-field=done] [data-value]")).to_have_text("41")

    page.keyboard.press("Escape")
    expect(page.get_by_test_id("incidents")).to_have_count(0)
    expect(tally).to_be_focused()
    expect(page).to_have_url(server.url)


def test_loss_appears_in_the_open_incident_list_without_a_request(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(f"{server.url}?incidents=open")
    expect(page.get_by_test_id("incidents")).to_contain_text("No incident in the retained history")
    requested_urls: list[str] = []
    page.on("request", lambda request: requested_urls.append(request.url))
    for name in ("balance-sync", "account-discovery"):
        publisher.publish(name, {"done": 1}, heartbeat_s=0.5, instance="one")
        board.expect_state(name, "lost")
        expect(page.get_by_test_id("incident").first).to_have_attribute("data-service", name)
    expect(page.get_by_test_id("incident")).to_have_count(2)
    assert requested_urls == []
