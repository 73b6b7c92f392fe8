"""The page's one connection: it resumes, it notices silence, it comes back at its own pace, and it says what it cannot see."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page, Route
    from tests.browser.conftest import Board, Publisher
    from tests.support.serve_program import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_be_away")]

RETRY_S = (0.5, 3.0)
"""What a `bye` asks readers to wait (docs/reference/wire.md)."""


@dataclass
class Wire:
    """What passes on the page's stream, seen from outside the page; times in s, by the browser's monotonic clock."""

    page: Page
    asked: list[tuple[float, str]] = field(default_factory=list)
    frames: list[tuple[float, str, str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        session = self.page.context.new_cdp_session(self.page)
        session.on("Network.requestWillBeSent", self._note_request)
        session.on("Network.eventSourceMessageReceived", self._note_frame)
        session.send("Network.enable")

    def ids(self, event: str) -> list[str]:
        return [id for _, name, id, _ in self.frames if name == event]

    def values(self, service: str, key: str) -> list[Any]:
        """What the statuses of a service said under this key, in the order in which they came."""
        said = [
            data
            for _, name, _, data in self.frames
            if name == "status" and data["service"] == service
        ]
        return [data["status"][key] for data in said]

    def _note_request(self, event: dict[str, Any]) -> None:
        if "/api/stream" in event["request"]["url"]:
            self.asked.append((event["timestamp"], event["request"]["url"]))

    def _note_frame(self, event: dict[str, Any]) -> None:
        self.frames.append(
            (event["timestamp"], event["eventName"], event["eventId"], json.loads(event["data"]))
        )


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_missed_while_the_server_was_away_follows_each_once(
    end: str, page: Page, board: Board, server: ServerProcess, publisher: Publisher
) -> None:
    wire = Wire(page)
    page.goto(server.url)
    board.expect_connection("connected")
    sent = iter(range(90))

    def publish(count: int) -> None:
        for _ in range(count):
            publisher.record("balance-sync", {"n": next(sent)})

    publish(30)
    board.expect_value("balance-sync", "n", "29")
    getattr(server, end)()
    board.expect_stale(True)
    publish(30)
    server.start()
    board.expect_value("balance-sync", "n", "59")
    publish(30)
    board.expect_value("balance-sync", "n", "89")
    board.expect_state("balance-sync", "alive")
    board.expect_stale(False)
    assert wire.values("balance-sync", "n") == list(range(90))
    assert len(set(wire.ids("status"))) == len(wire.ids("status"))
    assert len(wire.ids("board")) == 1, "it was sent the whole board again"
    assert wire.ids("reset") == []
    expect(board.card("balance-sync")).to_have_count(1)
    expect(page.get_by_test_id("card")).to_have_count(3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_that_has_lost_its_server_greys_and_says_so(
    scheme: str, page: Page, board: Board, server: ServerProcess, publisher: Publisher
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(server.url)
    publisher.publish("balance-sync", {"done": 41})
    board.expect_value("balance-sync", "done", "41")
    board.expect_stale(False)
    banner = page.get_by_test_id("banner-disconnected")
    expect(banner).to_have_count(0)

    server.kill()
    board.expect_stale(True)
    for card in page.get_by_test_id("card").all():
        expect(card).to_have_attribute("data-state", "unknown")
    expect(page.locator("main")).to_have_css("filter", "grayscale(1)")
    expect(banner).to_contain_text("The connection to the server is lost.")
    expect(banner).to_contain_text(re.compile(r"shows data from \d\d:\d\d:\d\d"))
    expect(banner).to_contain_text("The connection broke.")
    expect(banner.get_by_role("alert")).to_be_visible()
    board.expect_value("balance-sync", "done", "41")
    page.mouse.wheel(0, 2_000)
    expect(banner).to_be_in_viewport()

    server.start()
    board.expect_stale(False)
    expect(banner).to_have_count(0)
    board.expect_state("balance-sync", "silent")


def test_a_frozen_server_is_noticed_within_three_of_its_pings(
    page: Page, board: Board, serve: Callable[..., ServerProcess], publisher: Publisher
) -> None:
    server = serve("--ping-s", "1")
    server.wait_until_ready()
    page.goto(server.url)
    with publisher.service("balance-sync", heartbeat_s=60) as service:
        service.update(done=1)
        board.expect_state("balance-sync", "alive")
        with server.frozen():
            frozen_at = time.monotonic()
            board.expect_stale(True)
            # Three pings and what two busy cores need; without what the server declared it would be fifteen seconds.
            assert time.monotonic() - frozen_at < 9
            board.expect_state("balance-sync", "unknown")
            expect(page.get_by_test_id("banner-disconnected")).to_contain_text(
                "The server sends nothing."
            )
            service.update(done=2)
        board.expect_stale(False)
        board.expect_connection("connected")
        board.expect_value("balance-sync", "done", "2")
        board.expect_state("balance-sync", "alive")
        expect(page.get_by_test_id("banner-disconnected")).to_have_count(0)


def test_a_refused_stream_is_asked_for_again(
    page: Page, board: Board, server: ServerProcess
) -> None:
    """An EventSource by itself gives up for ever at the first answer that is no stream."""
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        refused.append(route)
        route.fulfill(
            status=503,
            headers={"retry-after": "1"},
            body="{}",
            content_type="application/problem+json",
        )

    page.route("**/api/stream*", refuse, times=3)
    page.goto(server.url)
    board.expect_connection("connected")
    board.expect_state("balance-sync", "missing")
    assert len(refused) == 3


def test_pages_come_back_spread_out_when_a_server_ends_as_it_asked_them_to(
    browser: Browser, server: ServerProcess, page: Page, board: Board
) -> None:
    count = 6  # as many streams as a browser opens to one server
    with browser.new_context() as context:
        wires = [Wire(context.new_page()) for _ in range(count)]
        for wire in wires:
            wire.page.goto(server.url)
            expect(wire.page.get_by_test_id("connection")).to_have_attribute(
                "data-status", "connected"
            )
        server.stop()
        deadline = time.monotonic() + 15
        while not all(len(wire.asked) > 1 for wire in wires):
            assert time.monotonic() < deadline, "a page did not come back"
            wires[0].page.wait_for_timeout(50)
        byes = [next(at for at, name, _, _ in wire.frames if name == "bye") for wire in wires]
        waits = [wire.asked[1][0] - bye for wire, bye in zip(wires, byes, strict=True)]
    assert all(RETRY_S[0] - 0.1 <= wait <= RETRY_S[1] + 2 for wait in waits), waits
    assert max(waits) - min(waits) > 0.1, waits
