"""Log lines through a real server: streamed with the client's filters, and read from history."""

from typing import Any

import pytest
from tests.support.server import LogPublisher, Message, Server, eventually


def texts_of(message: Message) -> list[str]:
    return [line["message"] for line in message.data["lines"]]


async def test_log_line_is_streamed_with_its_own_id(
    server: Server, publish_log: LogPublisher
) -> None:
    async with await server.open("/api/stream?kinds=log") as stream:
        assert (await stream.next()).event == "board"
        publish_log("no such user", level="WARN", user=7, logger="auth")
        log = await stream.until(lambda message: message.event == "log")
    assert log.data == {
        "service": "report",
        "instance": "",
        "lines": [
            {
                "id": f"{log.id}.0",
                "timestamp": 1_765_584_000_000,
                "level": "warning",
                "message": "no such user",
                "logger": "auth",
                "fields": {"user": 7},
            }
        ],
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("level=error", ["disk full"]),
        ("level=WARN", ["slow", "disk full"]),
        ("contains=DISK", ["disk ok", "disk full"]),
        ("contains=disk&level=error", ["disk full"]),
        ("services=other", ["elsewhere"]),
        ("contains=seven", ["slow"]),
    ],
)
async def test_filters_apply_to_live_resumed_and_historical_lines(
    server: Server, publish_log: LogPublisher, query: str, expected: list[str]
) -> None:
    async with (
        await server.open(f"/api/stream?{query}") as stream,
        await server.open() as everything,
    ):
        start = (await stream.next()).id
        publish_log("disk ok")
        publish_log("slow", level="warning", note="Seven seconds")
        publish_log("disk full", level="error")
        publish_log("elsewhere", service="other")
        publish_log("the end", service="other", level="critical", note="disk", contains="seven")
        end = await everything.until(
            lambda message: message.event == "log" and texts_of(message) == ["the end"]
        )
        matches = [await stream.until(lambda message: message.event == "log") for _ in expected]
        assert [text for message in matches for text in texts_of(message)] == expected
    async with await server.open(f"/api/stream?{query}&since={start}") as stream:
        matches = [await stream.until(lambda message: message.event == "log") for _ in expected]
        assert [text for message in matches for text in texts_of(message)] == expected
    assert end.id
    service = "other" if "services" in query else "report"
    lines = server.get(
        f"/api/services/{service}/logs?{query.replace('services=other', 'level=info')}"
    ).json()["lines"]
    assert [line["message"] for line in lines if line["message"] != "the end"] == expected


async def test_pages_of_history_have_no_gap_and_no_repetition(
    server: Server, publish_log: LogPublisher
) -> None:
    for n in range(25):
        publish_log(f"line {n}")
    await eventually(
        lambda: len(server.get("/api/services/report/logs").json().get("lines", [])) == 25
    )
    pages, before = [], ""
    while True:
        page = server.get(f"/api/services/report/logs?limit=7{before}").json()
        pages.append([line["message"] for line in page["lines"]])
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert [line for page in reversed(pages) for line in page] == [f"line {n}" for n in range(25)]
    assert [len(page) for page in pages] == [7, 7, 7, 4]


async def test_selective_filter_returns_a_cursor_for_the_next_scan(
    server: Server, publish_log: LogPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.history.reader.SCAN_MAX_ENTRIES", 20)
    monkeypatch.setattr("pulseboard.bus.history.reader.PAGE", 10)
    publish_log("the needle")
    for n in range(50):
        publish_log(f"hay {n}")
    await eventually(
        lambda: server.get("/api/services/report/logs?contains=49").json().get("lines", [])
    )
    found, before, truncations = [], "", 0
    while True:
        page = server.get(f"/api/services/report/logs?contains=needle{before}").json()
        found += [line["message"] for line in page["lines"]]
        if page["before"] is None:
            break
        assert page["truncated"]
        truncations += 1
        before = f"&before={page['before']}"
    assert (found, truncations, page["truncated"]) == (["the needle"], 2, False)


@pytest.mark.parametrize(
    "before", ["0-0", "0-18446744073709551615", "18446744073709551615-18446744073709551615"]
)
async def test_every_valid_cursor_is_accepted_as_before(
    server: Server, publish_log: LogPublisher, before: str
) -> None:
    publish_log("a line")
    await eventually(lambda: server.get("/api/services/report/logs").json().get("lines", []))
    logs = server.get(f"/api/services/report/logs?before={before}.0")
    history = server.get(f"/api/services/report/history?before={before}")
    assert (logs.status_code, history.status_code) == (200, 200)
    assert len(logs.json()["lines"]) == (0 if before.startswith("0-") else 1)


async def test_history_is_limited_to_a_time_range(
    server: Server, publish_log: LogPublisher
) -> None:
    publish_log("before")
    await eventually(lambda: server.get("/api/services/report/logs").json().get("lines", []))
    (first,) = server.get("/api/services/report/logs").json()["lines"]
    after_ms = int(first["id"].split("-")[0]) + 1
    publish_log("after")
    await eventually(
        lambda: len(server.get("/api/services/report/logs").json().get("lines", [])) == 2
    )
    for query, expected in (
        (f"from={after_ms}", ["after"]),
        (f"to={after_ms - 1}", ["before"]),
        ("from=2020-01-01T00:00:00Z&to=2020-01-02", []),
        ("from=2020-01-01T02:00:00%2B02:00", ["before", "after"]),
    ):
        lines = server.get(f"/api/services/report/logs?{query}").json()["lines"]
        assert [line["message"] for line in lines] == expected


async def test_status_history_is_in_order(server: Server, publish: Any) -> None:
    for n in range(5):
        publish("balance-sync", n=n)
    await eventually(
        lambda: len(server.get("/api/services/balance-sync/history").json().get("events", ())) == 5
    )
    page = server.get("/api/services/balance-sync/history?limit=2").json()
    assert [event["status"]["n"] for event in page["events"]] == [3, 4]
    page = server.get(f"/api/services/balance-sync/history?limit=9&before={page['before']}").json()
    assert [event["status"]["n"] for event in page["events"]] == [0, 1, 2]
    assert page["before"] is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("level=loud", "bad-level"),
        ("from=yesterday", "bad-time"),
        ("from=-5", "bad-time"),
        ("from=99999999999999999999", "bad-time"),
        ("from=2000&to=1000", "bad-time"),
        ("before=5", "bad-cursor"),
        ("before=5-5", "bad-cursor"),
        ("before=5-5.x", "bad-cursor"),
        ("limit=0", None),
        ("limit=-1", None),
        ("limit=1001", None),
        ("lvl=error", "bad-parameter"),
        ("Level=error", "bad-parameter"),
        ("limit=1&limit=2", "bad-parameter"),
    ],
)
async def test_invalid_query_is_answered_with_a_problem(
    server: Server, query: str, code: str | None
) -> None:
    answer = server.get(f"/api/services/report/logs?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert code is None or answer.json()["code"] == code
    assert server.get("/api/services/Report/logs").json()["code"] == "bad-name"
    assert server.get("/api/services/logs/history").json()["code"] == "bad-name"


@pytest.mark.parametrize(
    "path",
    ["logs", "logs?format=jsonl", "history", "history?format=jsonl", "metrics", "metrics?name=n"],
)
async def test_unknown_service_is_a_problem_and_known_service_without_data_is_not(
    server: Server, publish: Any, path: str
) -> None:
    answer = server.get(f"/api/services/repotr/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-service")
    publish("report", n=1)
    await eventually(lambda: server.runtime.hub.states("report"))
    assert server.get(f"/api/services/report/{path}").status_code == 200
