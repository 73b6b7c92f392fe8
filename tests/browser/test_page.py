"""The page: requests, hostile input, layout, colours, keyboard and security policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Request
    from tests.browser.conftest import BoardPage, NamespacePublisher
    from tests.support.serve_program import ServerProcess

pytestmark = pytest.mark.browser

OBSERVED_S = 8
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
WALL = {"width": 2560, "height": 1440}

HOSTILE: dict[str, Any] = {
    "html": "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script><h1>big</h1>",
    "<b>key</b>": "value of a key in tags",
    "unbroken": "x" * 5_000,
    "k" * 300: 1,
    "rtl": "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "entities": "&lt;i&gt; &amp; &#60;",
    "controls": "tab\there\nline\r\nfeed\u0000\u2028",
    "emoji": "👩‍👩‍👧‍👦 é",
    "__proto__": "no prototype",
    "constructor": {"prototype": "neither"},
    "huge": 1e300,
    "tiny": -0.000000123,
    "far": {"timestamp": 9_999_999_999_999_999},
    "deep": {"a": {"b": {"c": {"d": {"e": {"f": "bottom"}}}}}},
    "list": [f"<u>{n}</u>" for n in range(50)],
    "lastError": "Traceback\n" + "  File <module>\n" * 50,
    "javascript": "javascript:alert(1)",
}


def test_page_opens_one_stream_and_makes_no_other_request(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    requests: list[Request] = []
    # Playwright accepts no built-in function as a handler.
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108
    page.goto(server.url)
    with publisher.service("balance-sync", heartbeat_s=0.5) as service:
        for second in range(OBSERVED_S):
            service.update(done=second)
            publisher.publish("account-discovery", {"done": second})
            board.expect_value("balance-sync", "done", str(second))
            board.expect_value("account-discovery", "done", str(second))
            page.wait_for_timeout(1_000)  # gives a timer in the page the time to make a request
    (stream_url,) = [
        urlsplit(request.url) for request in requests if request.resource_type not in STATIC
    ]
    # The page shows no log lines, which can be thousands per second, so it requests none.
    assert (stream_url.path, stream_url.query) == (
        "/api/stream",
        "kinds=status,heartbeats,lifecycle",
    )
    assert [request.resource_type for request in requests].count("document") == 1
    assert len(requests) <= 5, [request.url for request in requests]
    assert {urlsplit(request.url).netloc for request in requests} == {urlsplit(server.url).netloc}


STATIC = ("document", "script", "stylesheet", "image", "other")  # "other" is the icon


def test_hostile_input_is_shown_as_text_and_runs_no_script(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish("balance-sync", HOSTILE)
    publisher.publish("account-discovery", {"phase": HOSTILE["html"]})
    card = board.card("balance-sync")
    card.get_by_role("button", name="more fields").click()
    for field in ("html", "<b>key</b>", "entities", "__proto__", "emoji", "javascript", "rtl"):
        board.expect_value("balance-sync", field, HOSTILE[field])
    expect(board.value("balance-sync", "constructor.prototype")).to_have_text("neither")
    expect(board.card("account-discovery").locator("[data-field=phase]")).to_contain_text(
        "<img src=x"
    )
    assert page.evaluate("window.pwned") is None
    assert page.locator("main").locator("img, script, h1, b, u, a, iframe").count() == 0
    # Hostile input of one service does not affect other services.
    publisher.publish("account-enrichment", {"done": 1})
    board.expect_value("account-enrichment", "done", "1")


def test_right_to_left_text_does_not_change_the_surrounding_layout(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish(
        "balance-sync", {"name": "\u202e\u05ea\u05d5\u05d3\u05d4 123", "after": "plain"}
    )
    value = board.value("balance-sync", "name")
    expect(value).to_be_visible()
    assert value.locator("bdi").count() == 1
    label = board.card("balance-sync").locator("[data-field=name] dt").bounding_box()
    text = value.bounding_box()
    assert label is not None
    assert text is not None
    assert label["x"] < text["x"]


@pytest.mark.parametrize("size", [PHONE, DESKTOP, WALL], ids=["phone", "desktop", "wall"])
def test_no_status_makes_the_page_wider_than_the_screen(
    size: dict[str, int],
    page: Page,
    board: BoardPage,
    server: ServerProcess,
    publisher: NamespacePublisher,
) -> None:
    page.set_viewport_size({"width": size["width"], "height": size["height"]})
    page.goto(server.url)
    board.expect_state("balance-sync", "missing")
    assert board.overflow_px() == 0
    publisher.publish("balance-sync", HOSTILE)
    publisher.publish("a" * 64, {"phase": "y" * 3_000})
    publisher.publish("account-discovery", {"done": 1}, instance="i" * 100)
    publisher.publish("account-discovery", {"done": 1}, instance="other")
    publisher.publish("account-discovery", {"done": 1}, instance="third")
    expect(board.card("a" * 64)).to_be_visible()
    expect(page.get_by_test_id("group")).to_be_visible()
    closed = page.locator("main button[aria-expanded=false]")
    while closed.count():
        closed.first.click()
    assert board.overflow_px() == 0
    for card in page.get_by_test_id("card").all():
        box = card.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size["width"]


def test_page_follows_the_system_colours_until_the_user_selects_others(
    page: Page, board: BoardPage, server: ServerProcess
) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(server.url)
    board.expect_state("balance-sync", "missing")
    assert luminance(page, "backgroundColor") > 0.8
    page.emulate_media(color_scheme="dark")
    assert luminance(page, "backgroundColor") < 0.1
    switch = page.get_by_role("button", name="Colours")
    expect(switch).to_have_accessible_name("Colours: system")
    switch.click()
    expect(switch).to_have_accessible_name("Colours: light")
    assert luminance(page, "backgroundColor") > 0.8
    page.reload()
    board.expect_state("balance-sync", "missing")
    assert luminance(page, "backgroundColor") > 0.8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_colour_schemes(
    scheme: str, page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(server.url)
    publisher.publish("balance-sync", {"done": 1})
    board.expect_value("balance-sync", "done", "1")
    for selector in (
        "h1",
        ".card-title",
        "[data-field=done] dt",
        "[data-field=done] dd",
        ".card-state",
    ):
        ratio = contrast(
            page, f"[data-service=balance-sync] {selector}" if selector != "h1" else selector
        )
        assert ratio >= 4.5, f"{selector}: {ratio:.1f}"  # WCAG 2.2, 1.4.3


@pytest.mark.usefixtures("allow_server_unavailable")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_disconnected_board_and_lost_cards_have_enough_contrast(
    scheme: str, page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(server.url)
    publisher.publish("account-discovery", {"done": 1}, heartbeat_s=0.2, instance="one")
    board.expect_state("account-discovery", "lost")
    publisher.publish("balance-sync", {"done": 1}, heartbeat_s=30, instance="one")
    board.expect_state("balance-sync", "alive")
    for selector in (
        f"[data-state=lost] {part}" for part in (".card-state", ".card-end", "dd", ".card-foot")
    ):
        ratio = contrast(page, selector)
        assert ratio >= 4.5, f"{selector}: {ratio:.1f}"
    server.kill()
    board.expect_stale(True)
    expect(page.get_by_test_id("banner-disconnected")).to_be_visible()
    grey = [
        f"[data-service=balance-sync] {part}"
        for part in (".card-title", "dt", "dd", ".card-state", ".card-foot")
    ]
    for selector in [".banner-disconnected strong", ".banner-more", ".tally-word", *grey]:
        ratio = contrast(page, selector)
        assert ratio >= 4.5, f"{selector}: {ratio:.1f}"


def test_slash_focuses_the_search_and_the_url_keeps_the_query(
    page: Page, board: BoardPage, serve: Callable[..., ServerProcess], publisher: NamespacePublisher
) -> None:
    server = serve()
    server.wait_until_ready()
    names = [f"service-{n}" for n in range(7)]
    for name in names:
        publisher.publish(name, {"done": 1})
    page.goto(server.url)
    expect(page.get_by_test_id("card")).to_have_count(7)
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Find a service")
    expect(search).to_be_focused()
    expect(search).to_have_value("")
    page.keyboard.type("service-3")
    expect(page.get_by_test_id("card")).to_have_count(1)
    expect(page).to_have_url(f"{server.url}?q=service-3")
    page.reload()
    expect(board.card("service-3")).to_be_visible()
    expect(page.get_by_test_id("card")).to_have_count(1)
    search.focus()
    page.keyboard.type("-not")
    expect(page.get_by_test_id("nothing-matches")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("card")).to_have_count(7)
    expect(search).not_to_be_focused()


def test_state_filter_works_by_keyboard(
    page: Page, board: BoardPage, server: ServerProcess, publisher: NamespacePublisher
) -> None:
    page.goto(server.url)
    publisher.publish("balance-sync", {"done": 1})
    board.expect_state("balance-sync", "silent")
    silent = page.get_by_role("button", name="1 silent")
    for _ in range(12):
        page.keyboard.press("Tab")
        if silent.evaluate("button => button === document.activeElement"):
            break
    expect(silent).to_be_focused()
    page.keyboard.press("Enter")
    expect(silent).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_test_id("card")).to_have_count(1)
    expect(page).to_have_url(f"{server.url}?state=silent")


def test_content_security_policy_allows_only_own_resources(
    page: Page, server: ServerProcess
) -> None:
    response = page.goto(server.url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


# A canvas converts a colour of any colour space into sRGB bytes.
RGB = """colour => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}"""


def luminance_of(page: Page, colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    channels: list[int] = page.evaluate(RGB, colour)
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in channels[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def luminance(page: Page, style: str) -> float:
    return luminance_of(page, page.evaluate(f"getComputedStyle(document.documentElement).{style}"))


def contrast(page: Page, selector: str) -> float:
    foreground, background = page.locator(selector).first.evaluate(
        """element => {
          const backgroundOf = (node) => getComputedStyle(node).backgroundColor;
          const transparent = /^(transparent|rgba\\(0, 0, 0, 0\\))$/;
          let ancestor = element;
          while (ancestor && transparent.test(backgroundOf(ancestor)))
            ancestor = ancestor.parentElement;
          const background = backgroundOf(ancestor ?? document.documentElement);
          return [getComputedStyle(element).color, background];
        }"""
    )
    low, high = sorted((luminance_of(page, foreground), luminance_of(page, background)))
    return (high + 0.05) / (low + 0.05)
