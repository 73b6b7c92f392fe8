"""Requests for commands: each invalid one is refused at once with a code."""

import signal
from typing import Any

import pytest
import redis
from tests.support.commands import RunInstance, TillClient
from tests.support.server import Server, eventually

from pulseboard.bus.keys import Keys

BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"command": "explode"}, 404, "unknown-command"),
    ({"command": "count", "args": {"by": "two"}}, 422, "bad-arguments"),
    ({"command": "count", "args": {"times": 2}}, 422, "bad-arguments"),
    ({"command": "count", "args": {"by": "x" * 20_000}}, 413, "too-large"),
    ({"command": "count", "args": {"by": "x" * 70_000}}, 413, "too-large"),
    ({"command": "count", "args": [1]}, 400, "bad-body"),
    ({"command": "count", "deadline_s": 0}, 400, "bad-deadline"),
    ({"command": "count", "deadline_s": -5}, 400, "bad-deadline"),
    ({"command": "count", "deadline_s": 1e9}, 400, "bad-deadline"),
    ({"command": "count", "instance": "z"}, 404, "unknown-instance"),
    ({"command": "No Name"}, 400, "bad-name"),
    ({}, 400, "bad-body"),
    ({"command": "count", "more": 1}, 400, "bad-body"),
]


async def test_invalid_command_is_refused_at_once_with_a_code(
    till: TillClient, run_instance: RunInstance, server: Server
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    for body, status, code in BAD:
        answer = server.request("POST", "/api/services/till/commands", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
        assert answer.headers["content-type"] == "application/problem+json"
    # balance-sync is expected and has never published; the other service is unknown.
    for service, status, code in (
        ("balance-sync", 409, "no-listener"),
        ("unheard-of", 404, "unknown-service"),
    ):
        answer = server.request(
            "POST", f"/api/services/{service}/commands", json={"command": "ping"}
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    for content, kind, status, code in (
        (b"{", "application/json", 400, "malformed"),
        (b"", "application/json", 400, "bad-body"),
        (b'{"command": "count"}', "text/plain", 415, "unsupported-media-type"),
    ):
        answer = server.request(
            "POST", "/api/services/till/commands", content=content, headers={"content-type": kind}
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert server.get("/api/commands/nothing").json()["code"] == "unknown-command-id"
    assert till.run_counts() == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost"},
    ],
)
async def test_command_from_a_page_of_another_site_is_refused(
    till: TillClient, run_instance: RunInstance, headers: dict[str, str]
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    answer = till.post("count", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross-site")
    assert till.post("count", headers={"sec-fetch-site": "same-origin"}).status_code == 202


async def test_requests_with_one_idempotency_key_send_one_command(
    till: TillClient, run_instance: RunInstance
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    key = {"idempotency-key": "order-66"}
    first, second = till.post("count", headers=key), till.post("count", headers=key)
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    other = till.post("count", headers=key, args={"by": 3})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert (
        till.post("count", headers={"idempotency-key": "x" * 300}).json()["code"]
        == "bad-idempotency-key"
    )
    await till.wait_until_final(first.json()["id"], "a")
    assert till.run_counts() == {"a": 1}


async def test_command_without_a_listener_is_refused_at_once(
    till: TillClient, run_instance: RunInstance
) -> None:
    process = run_instance("a")
    await till.wait_until_listening("a")
    process.kill(signal.SIGTERM)
    process.wait()
    await eventually(lambda: till.post("count").status_code == 409)
    problem = till.post("count").json()
    assert (problem["code"], problem["states"]) == ("no-listener", {"a": "stopped"})
    assert "a is stopped" in problem["detail"]


async def test_idempotency_key_with_an_invalid_record_is_refused(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    till.post("count", headers={"idempotency-key": "k"})
    (key,) = raw.keys(keys.idempotency("*"))
    raw.set(key, b"\xff")
    assert (
        till.post("count", headers={"idempotency-key": "k"}).json()["code"]
        == "idempotency-key-reused"
    )


async def test_arguments_that_nest_too_deep_are_refused(till: TillClient, server: Server) -> None:
    body = b'{"command": "count", "args": {"by": ' + b"[" * 20_000 + b"]" * 20_000 + b"}}"
    answer = server.request(
        "POST",
        "/api/services/till/commands",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_command_is_refused_when_too_many_commands_are_open(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys, server: Server
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    # These commands have no record, so the servers close them.
    raw.zadd(keys.open_commands, {f"{n:032x}": n for n in range(1_000)})
    refused = till.post("count")
    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-open")
    assert refused.headers["retry-after"] == "5"
    await eventually(lambda: till.post("count").status_code == 202)
