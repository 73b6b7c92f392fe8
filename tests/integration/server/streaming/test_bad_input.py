"""Invalid messages break no stream: they are dropped, counted by reason, and logged once."""

import json
import logging

import pytest
import redis
from tests.support.server import ExternalPublisher, Server, eventually


def event(service: object = "balance-sync", **changes: object) -> str:
    return json.dumps({"service": service, "timestamp": 1, "status": {}} | changes)


BAD: dict[str, list[tuple[str, str | bytes]]] = {
    "malformed": [
        ("balance-sync", b""),
        ("balance-sync", b"{"),
        ("balance-sync", b"\x00"),
        ("balance-sync", b'{"service":"balance-sync","timestamp":1,"status":{"a":"\xff\xfe"}}'),
        ("balance-sync", b'{"service":"balance-sync","timestamp":1,"status":{"a":"x\r\ny"}}'),
        ("balance-sync", b'{"service":"balance-sync","timestamp":1,"status":{"a":"x\x00y"}}'),
        ("balance-sync", b'{"service":"balance-sync","timestamp":1,"status":{"a":NaN}}'),
        ("balance-sync", b"data: hello\n\nevent: board\ndata: {}\n\n"),
    ],
    "wrong-type": [
        ("balance-sync", b"null"),
        ("balance-sync", b"[]"),
        ("balance-sync", b"42"),
        ("balance-sync", b"{}"),
        ("balance-sync", event(timestamp="now")),
        ("balance-sync", event(status=[])),
        ("balance-sync", event(status="running")),
        ("balance-sync", event(service=7)),
        ("balance-sync", event(heartbeat_s=-1)),
        ("balance-sync", event(stopped="yes")),
        ("logs", event("logs")),
        ("metrics", event("metrics")),
        ("logs", b'{"service":"balance-sync","message":"x","level":"loud"}'),
    ],
    "too-large": [("balance-sync", event(status={"text": "x" * 1_000_000}))],
    "too-deep": [("balance-sync", event(status={"a": json.loads("[" * 40 + "]" * 40)}))],
    "bad-name": [
        ("", event("")),
        ("Balance", event("Balance")),
        ("metrics", b'{"service":"Balance","metrics":{"n":1}}'),
        ("logs", b'{"service":"Balance","message":"x"}'),
        ("a b", event("a b")),
        ("a\r\nb", event("a\r\nb")),
        ("x" * 65, event("x" * 65)),
        ("balance-sync", event(instance="a\x00b")),
        ("balance-sync", event(instance="a/b")),
    ],
    "channel-mismatch": [
        ("balance-sync", event("account-discovery")),
        ("unknown", event("balance-sync")),
    ],
}


async def test_invalid_messages_are_dropped_counted_and_logged_once_per_reason(
    server: Server,
    raw: redis.Redis,
    prefix: str,
    publish: ExternalPublisher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "pulseboard.rejections")
    async with (
        await server.open("/api/services/status/stream") as stream,
        await server.open() as event_stream,
    ):
        await stream.next()
        for cases in BAD.values():
            for channel, payload in cases:
                raw.publish(prefix + channel, payload)
        update = publish("balance-sync", fine=True)
        assert (await stream.next()).data == update
        status = await event_stream.until(lambda message: message.event != "board")
        assert (status.event, status.data["status"]) == ("status", {"fine": True})
    assert server.health()["dropped"] == {reason: len(cases) for reason, cases in BAD.items()}
    assert server.health()["instances"] == 1
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == len(BAD)
    for line in warnings:
        assert line.isprintable()
        assert len(line) < 500


async def test_unusual_but_valid_messages_arrive_unchanged(
    server: Server, raw: redis.Redis, prefix: str
) -> None:
    oddities = [
        {"text": "line\r\nbreak\x00\u2028 data: x\n\n", "event: bye": "id: 7"},
        {"": None, "nested": {"deep": [[[[{}]]]]}, "big": 12345678901234567890, "small": 1e-300},
        {"name": "Ünïcödé ✓ 🎉", "html": "<script>alert(1)</script>", "long": "y" * 60_000},
        {},
    ]
    async with await server.open("/api/services/status/stream") as stream:
        await stream.next()
        for status in oddities:
            raw.publish(
                prefix + "balance-sync",
                "\n "
                + json.dumps(
                    {"status": status, "service": "balance-sync", "extra": [1], "timestamp": 1.5},
                    indent=2,
                ),
            )
        for status in oddities:
            data = (await stream.next()).data
            assert data == {"service": "balance-sync", "timestamp": 1, "status": status}


async def test_foreign_entries_in_the_redis_keys_do_not_break_a_stream(
    server: Server, raw: redis.Redis, namespace: str, publish: ExternalPublisher
) -> None:
    feed, heartbeats, board = (
        f"{{{namespace}}}:{name}" for name in ("feed", "heartbeats", "board")
    )
    async with await server.open() as stream:
        await stream.next()
        entries: list[dict[str | bytes, str | bytes]] = [
            {"foo": "bar"},
            {"kind": "status"},
            {"kind": "status", "data": "{"},
            {"kind": "status", "data": event("logs")},
            {"kind": "status", "data": event(status=5)},
            {"kind": "status", "data": "[" * 60_000},
            {"kind": "log", "data": "{}"},
            {b"\xff": b"\xff"},
        ]
        for fields in entries:
            raw.xadd(feed, fields)  # type: ignore[arg-type]
        raw.xadd(heartbeats, {b"service": b"\xff", b"x": b"y"})
        raw.hset(board, mapping={"nonsense": "{", "a/b": event("a"), "c": ""})
        publish("balance-sync", fine=True)
        status = await stream.until(lambda message: message.event != "ping")
        assert (status.event, status.data["status"]) == ("status", {"fine": True})
    assert sum(server.health()["dropped"].values()) == len(entries)
    await eventually(server.is_ready)


@pytest.mark.parametrize("key", ["feed", "heartbeats", "board"])
async def test_server_survives_a_redis_key_of_a_wrong_type(
    server: Server, raw: redis.Redis, namespace: str, key: str
) -> None:
    name = f"{{{namespace}}}:{key}"
    raw.delete(name)
    raw.set(name, "wrong type")
    raw.client_kill_filter(_type="normal", skipme=True)
    if key != "board":
        await eventually(lambda: not server.is_ready())
        assert "Redis" in server.get("/readyz").json()["detail"]
    assert server.get("/healthz").status_code == 200
    raw.delete(name)
    await eventually(server.is_ready)
