"""The page during outages of the server or Redis: it shows them and recovers without a reload."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import redis
from playwright.sync_api import expect
from tests.browser.conftest import NamespacePublisher
from tests.support.valkey import free_port, run_valkey

from pulseboard.bus.connection.address import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import BoardPage
    from tests.support.serve_program import ServerProcess

pytestmark = pytest.mark.browser


def set_reload_marker(page: Page) -> None:
    """Set a marker that a reload of the page would remove."""
    page.evaluate("window.notReloaded = true")


def expect_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.notReloaded") is True


@pytest.mark.usefixtures("allow_server_unavailable")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_page_reconnects_by_itself_when_the_server_returns(
    end: str, page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    set_reload_marker(page)
    with publisher.service("balance-sync") as service:
        service.update(done=1)
        board.expect_value("balance-sync", "done", "1")
        board.expect_connection("connected")

        getattr(server, end)()
        board.expect_connection("reconnecting")
        board.expect_state("balance-sync", "unknown")
        board.expect_connection("disconnected")  # after three failed attempts
        board.expect_value("balance-sync", "done", "1")  # the last known value stays
        service.update(done=2)

        server.start()
        board.expect_connection("connected")
        board.expect_value("balance-sync", "done", "2")
        board.expect_state("balance-sync", "alive")
        service.update(done=3)
        board.expect_value("balance-sync", "done", "3")
    expect_not_reloaded(page)


@pytest.mark.usefixtures("allow_server_unavailable")
def test_stopped_redis_shows_the_blind_banner_until_it_returns(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    port = free_port()
    address = RedisAddress(host="127.0.0.1", port=port)
    server = serve("--expect", "balance-sync", redis=address)
    with NamespacePublisher(address, namespace).service("balance-sync", heartbeat_s=0.5) as service:
        with run_valkey(port):
            server.wait_until_ready()
            page.goto(server.url)
            set_reload_marker(page)
            service.update(done=1)
            board.expect_value("balance-sync", "done", "1")
            expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        expect(page.get_by_test_id("banner-blind")).to_be_visible()
        board.expect_state("balance-sync", "unknown")
        board.expect_connection("connected")  # the server still sends, and reports that it is blind
        expect(page).to_have_title("(?) Background Services Monitor")
        service.update(done=2)
        with run_valkey(port):
            expect(page.get_by_test_id("banner-blind")).to_have_count(0)
            board.expect_value("balance-sync", "done", "2")
            board.expect_state("balance-sync", "alive")
            expect_not_reloaded(page)


def test_hanging_redis_shows_the_blind_banner(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    with run_valkey() as valkey:
        server = serve(redis=valkey.address)
        server.wait_until_ready()
        page.goto(server.url)
        NamespacePublisher(valkey.address, namespace).publish("balance-sync", {"done": 1})
        board.expect_value("balance-sync", "done", "1")
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            expect(page.get_by_test_id("banner-blind")).to_be_visible()
            board.expect_state("balance-sync", "unknown")
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        board.expect_state("balance-sync", "silent")


def test_redis_missing_at_the_start_is_shown_and_the_page_recovers_by_itself(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    port = free_port()
    address = RedisAddress(host="127.0.0.1", port=port)
    page.goto(serve("--expect", "balance-sync", redis=address).url)
    set_reload_marker(page)
    expect(page.get_by_test_id("banner-blind")).to_contain_text("The server cannot reach Redis")
    board.expect_state("balance-sync", "unknown")
    with (
        run_valkey(port),
        NamespacePublisher(address, namespace).service("balance-sync") as service,
    ):
        service.update(done=1)
        expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        board.expect_value("balance-sync", "done", "1")
        board.expect_state("balance-sync", "alive")
        expect_not_reloaded(page)


def test_board_without_a_login_shows_a_banner(
    page: Page, serve: Callable[..., ServerProcess]
) -> None:
    page.goto(serve("--host", "0.0.0.0", "--insecure-no-auth").url)
    expect(page.get_by_test_id("banner-insecure")).to_be_visible()


def test_board_on_loopback_shows_no_banner_about_the_login(
    page: Page, board: BoardPage, server: ServerProcess
) -> None:
    page.goto(server.url)
    board.expect_state("balance-sync", "missing")
    expect(page.get_by_test_id("banner-insecure")).to_have_count(0)


def test_coverage_gap_is_reported_in_a_dismissible_banner(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    """Redis disconnects a slow subscriber without any other sign."""
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        server = serve("--ping-s", "3600", redis=valkey.address)
        server.wait_until_ready()
        page.goto(server.url)
        publisher = NamespacePublisher(valkey.address, namespace)
        publisher.publish("balance-sync", {"done": 1})
        board.expect_value("balance-sync", "done", "1")
        banner = page.get_by_test_id("banner-gap")
        expect(banner).to_have_count(0)
        raw.client_kill_filter(_type="pubsub")
        expect(banner).to_contain_text("External messages between")
        expect(banner).to_contain_text("may be missing")
        expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        board.expect_state("balance-sync", "silent")
        page.set_viewport_size({"width": 390, "height": 800})
        assert board.overflow_px() == 0
        banner.get_by_role("button", name="Dismiss").click()
        expect(banner).to_have_count(0)
        page.reload()
        board.expect_value("balance-sync", "done", "1")
        expect(banner).to_have_count(0)
