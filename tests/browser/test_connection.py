"""The stream of the page: resuming, detecting silence, reconnecting, and the disconnected state."""

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
    from tests.browser.conftest import BoardPage, NamespacePublisher
    from tests.support.serve_program import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("allow_server_unavailable")]

RETRY_S = (0.5, 3.0)
"""The range of reconnection delays that a `bye` sends to clients (docs/reference/wire.md)."""


@dataclass
class StreamLog:
    """The requests and frames of the page's stream, recorded by the browser.

    Times are in s on the monotonic clock of the browser.
    """

    page: Page
    requests: list[tuple[float, str]] = field(default_factory=list)
    frames: list[tuple[float, str, str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        session = self.page.context.new_cdp_session(self.page)
        session.on("Network.requestWillBeSent", self._record_request)
        session.on("Network.eventSourceMessageReceived", self._record_frame)
        session.send("Network.enable")

    def ids(self, event: str) -> list[str]:
        return [id for _, name, id, _ in self.frames if name == event]

    def values(self, service: str, key: str) -> list[Any]:
        """Return the values of this key in the statuses of a service, in order of arrival."""
        statuses = [
            data
            for _, name, _, data in self.frames
            if name == "status" and data["service"] == service
        ]
        return [data["status"][key] for data in statuses]

    def _record_request(self, event: dict[str, Any]) -> None:
        if "/api/stream" in event["request"]["url"]:
            self.requests.append((event["timestamp"], event["request"]["url"]))

    def _record_frame(self, event: dict[str, Any]) -> None:
        self.frames.append(
            (event["timestamp"], event["eventName"], event["eventId"], json.loads(event["data"]))
        )


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_events_during_a_server_outage_arrive_once_after_it(
    end: str, page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    stream_log = StreamLog(page)
    page.goto(server.url)
    board.expect_connection("connected")
    sent = iter(range(90))

    def publish(count: int) -> None:
        for _ in range(count):
            publisher.publish_as_service("balance-sync", {"n": next(sent)})

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
    assert stream_log.values("balance-sync", "n") == list(range(90))
    assert len(set(stream_log.ids("status"))) == len(stream_log.ids("status"))
    assert len(stream_log.ids("board")) == 1, "the server sent the whole board again"
    assert stream_log.ids("reset") == []
    expect(board.card("balance-sync")).to_have_count(1)
    expect(page.get_by_test_id("card")).to_have_count(3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_that_has_lost_its_server_turns_grey_and_shows_a_banner(
    scheme: str, page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
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


def test_frozen_server_is_detected_within_three_pings(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], publisher: NamespacePublisher
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
            # Three pings and a margin for two busy cores. Without the ping interval that the server
            # declares, the page would wait for 15 s.
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


def test_refused_stream_is_requested_again(
    page: Page, board: BoardPage, server: ServerProcess
) -> None:
    """An EventSource alone gives up forever at the first response that is not a stream."""
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


def test_pages_reconnect_after_spread_delays_when_a_server_stops(
    browser: Browser, server: ServerProcess, page: Page, board: BoardPage
) -> None:
    count = 6  # the limit of connections from a browser to one server
    with browser.new_context() as context:
        stream_logs = [StreamLog(context.new_page()) for _ in range(count)]
        for stream_log in stream_logs:
            stream_log.page.goto(server.url)
            expect(stream_log.page.get_by_test_id("connection")).to_have_attribute(
                "data-status", "connected"
            )
        server.stop()
        deadline = time.monotonic() + 15
        while not all(len(stream_log.requests) > 1 for stream_log in stream_logs):
            assert time.monotonic() < deadline, "a page did not reconnect"
            stream_logs[0].page.wait_for_timeout(50)
        bye_times = [
            next(time_s for time_s, name, _, _ in stream_log.frames if name == "bye")
            for stream_log in stream_logs
        ]
        waits = [
            stream_log.requests[1][0] - bye
            for stream_log, bye in zip(stream_logs, bye_times, strict=True)
        ]
    assert all(RETRY_S[0] - 0.1 <= wait <= RETRY_S[1] + 2 for wait in waits), waits
    assert max(waits) - min(waits) > 0.1, waits
