"""What a reader sees when the server or Redis goes away and comes back: the truth, and no reload."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import redis
from playwright.sync_api import expect
from tests.browser.conftest import Publisher
from tests.support.valkey import free_port, run_valkey

from pulseboard.bus.connection.address import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.browser.conftest import Board
    from tests.support.serve_program import ServerProcess

pytestmark = pytest.mark.browser


def mark(page: Page) -> None:
    """Leave a mark that a reload of the page would wipe out."""
    page.evaluate("window.notReloaded = true")


def expect_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.notReloaded") is True


@pytest.mark.usefixtures("may_be_away")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_page_comes_back_by_itself_after_the_server_does(
    end: str, page: Page, board: Board, server: ServerProcess, publisher: Publisher
) -> None:
    page.goto(server.url)
    mark(page)
    with publisher.service("balance-sync") as service:
        service.update(done=1)
        board.expect_value("balance-sync", "done", "1")
        board.expect_connection("connected")

        getattr(server, end)()
        board.expect_connection("reconnecting")
        board.expect_state("balance-sync", "unknown")
        board.expect_connection("disconnected")  # after three failed attempts
        board.expect_value("balance-sync", "done", "1")  # the last known stays
        service.update(done=2)

        server.start()
        board.expect_connection("connected")
        board.expect_value("balance-sync", "done", "2")
        board.expect_state("balance-sync", "alive")
        service.update(done=3)
        board.expect_value("balance-sync", "done", "3")
    expect_not_reloaded(page)


@pytest.mark.usefixtures("may_be_away")
def test_redis_stopped_is_shown_as_blindness_and_ends_when_it_returns(
    page: Page, board: Board, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    port = free_port()
    address = RedisAddress(host="127.0.0.1", port=port)
    server = serve("--expect", "balance-sync", redis=address)
    with Publisher(address, namespace).service("balance-sync", heartbeat_s=0.5) as service:
        with run_valkey(port):
            server.wait_until_ready()
            page.goto(server.url)
            mark(page)
            service.update(done=1)
            board.expect_value("balance-sync", "done", "1")
            expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        expect(page.get_by_test_id("banner-blind")).to_be_visible()
        board.expect_state("balance-sync", "unknown")
        board.expect_connection("connected")  # the server is there, and says that it sees nothing
        expect(page).to_have_title("(?) Background Services Monitor")
        service.update(done=2)
        with run_valkey(port):
            expect(page.get_by_test_id("banner-blind")).to_have_count(0)
            board.expect_value("balance-sync", "done", "2")
            board.expect_state("balance-sync", "alive")
            expect_not_reloaded(page)


def test_redis_that_hangs_is_shown_as_blindness_too(
    page: Page, board: Board, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    with run_valkey() as valkey:
        server = serve(redis=valkey.address)
        server.wait_until_ready()
        page.goto(server.url)
        Publisher(valkey.address, namespace).publish("balance-sync", {"done": 1})
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


def test_without_redis_from_the_start_the_page_says_so_and_recovers_by_itself(
    page: Page, board: Board, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    port = free_port()
    address = RedisAddress(host="127.0.0.1", port=port)
    page.goto(serve("--expect", "balance-sync", redis=address).url)
    mark(page)
    expect(page.get_by_test_id("banner-blind")).to_contain_text("The server cannot reach Redis")
    board.expect_state("balance-sync", "unknown")
    with run_valkey(port), Publisher(address, namespace).service("balance-sync") as service:
        service.update(done=1)
        expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        board.expect_value("balance-sync", "done", "1")
        board.expect_state("balance-sync", "alive")
        expect_not_reloaded(page)


def test_an_open_board_says_that_it_is_open(
    page: Page, serve: Callable[..., ServerProcess]
) -> None:
    page.goto(serve("--host", "0.0.0.0", "--insecure-no-auth").url)
    expect(page.get_by_test_id("banner-insecure")).to_be_visible()


def test_a_private_board_does_not_say_that_it_is_open(
    page: Page, board: Board, server: ServerProcess
) -> None:
    page.goto(server.url)
    board.expect_state("balance-sync", "missing")
    expect(page.get_by_test_id("banner-insecure")).to_have_count(0)


def test_a_coverage_gap_is_reported_in_a_note_that_can_be_dismissed(
    page: Page, board: Board, serve: Callable[..., ServerProcess], namespace: str
) -> None:
    """Redis drops a slow subscriber without any other sign of it."""
    with run_valkey() as valkey, redis.Redis(port=valkey.address.port) as raw:
        server = serve("--ping-s", "3600", redis=valkey.address)
        server.wait_until_ready()
        page.goto(server.url)
        publisher = Publisher(valkey.address, namespace)
        publisher.publish("balance-sync", {"done": 1})
        board.expect_value("balance-sync", "done", "1")
        line = page.get_by_test_id("banner-gap")
        expect(line).to_have_count(0)
        raw.client_kill_filter(_type="pubsub")
        expect(line).to_contain_text("External messages between")
        expect(line).to_contain_text("may be missing")
        expect(page.get_by_test_id("banner-blind")).to_have_count(0)
        board.expect_state("balance-sync", "silent")
        page.set_viewport_size({"width": 390, "height": 800})
        assert board.overflow_px() == 0
        line.get_by_role("button", name="Dismiss").click()
        expect(line).to_have_count(0)
        page.reload()
        board.expect_value("balance-sync", "done", "1")
        expect(line).to_have_count(0)
