"""Retention limits: the server sets them for every publisher and trims existing history."""

from typing import Any

import msgspec
import pytest
import redis
from tests.support.server import ServeFixture, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.retention.limits import MB, Limits
from pulseboard.sdk.log_buffer import LineBatch
from pulseboard.wire.codec import MAX_EVENT_BYTES, encode
from pulseboard.wire.events.status import StatusEvent


@pytest.fixture
def publisher(address: RedisAddress, keys: Keys, prefix: str) -> Any:
    publisher = Publisher(address, keys, prefix=prefix)
    yield publisher
    publisher.close()


def publish_repeatedly(publisher: Publisher, service: str, count: int, text: str = "") -> None:
    """Publish `count` statuses and `count` log lines of a service."""
    statuses = (msgspec.Raw(encode({"n": n, "text": text})) for n in range(count))
    events = (StatusEvent(service, n, each, instance="w-1") for n, each in enumerate(statuses))
    publisher.publish([Outgoing(service, "w-1", encode(event)) for event in events])
    for n in range(count):
        publisher.publish_lines(
            service,
            "w-1",
            LineBatch(f"{service}:{n}", [b'{"level":"info","message":"x"}'], "info=1", 0),
        )


def limits_in(raw: redis.Redis, keys: Keys) -> Limits | None:
    json: Any = raw.get(keys.limits)
    return None if json is None else msgspec.json.decode(json, type=Limits)


async def test_every_publisher_applies_the_limits_of_the_server(
    serve: ServeFixture, address: RedisAddress, raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    serve(address, keep_status="100,1h", keep_logs="200")
    await eventually(lambda: raw.exists(keys.limits))
    publish_repeatedly(publisher, "report", 450)
    assert 100 <= raw.xlen(keys.history("report")) <= 200
    assert 200 <= raw.xlen(keys.history("report", "log")) <= 300
    assert 3_500 < raw.ttl(keys.history("report")) <= 3_600


async def test_histories_without_publishers_are_trimmed_after_limits_were_lowered(
    serve: ServeFixture, address: RedisAddress, raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    for n in range(30):
        publish_repeatedly(publisher, f"quiet-{n}", 10, text="x" * 20_000)
    publish_repeatedly(publisher, "report", 450)
    raw.hdel(keys.board, "report/w-1")  # as if it had left the board long ago
    for n in range(450):
        raw.xadd(keys.audit, {"kind": "command", "data": f'{{"n":{n}}}'})
    serve(address, keep_status="100,0.1MB,1d", keep_logs="100", keep_audit="100")
    await eventually(lambda: raw.xlen(keys.audit) <= 200)
    await eventually(lambda: raw.xlen(keys.history("report")) <= 200)
    await eventually(lambda: raw.xlen(keys.history("report", "log")) <= 200)
    await eventually(
        lambda: int(raw.memory_usage(keys.history("quiet-29"), samples=0) or 0) < MB // 10
    )
    assert 80_000 < raw.ttl(keys.history("report")) <= 86_400
    assert raw.xlen(keys.history("quiet-0")) >= 3, "no more is trimmed than necessary"
    assert raw.ttl(keys.feed) == raw.ttl(keys.audit) == -1


async def test_server_restores_lost_limits_and_keeps_newer_limits_of_another_server(
    serve: ServeFixture, address: RedisAddress, raw: redis.Redis, keys: Keys
) -> None:
    serve(address, keep_logs="30d")
    await eventually(lambda: limits_in(raw, keys) is not None)
    later = serve(address, keep_logs="60d")
    await eventually(later.is_ready)
    await eventually(lambda: (found := limits_in(raw, keys)) and found.log.age_s == 60 * 86_400)
    raw.delete(keys.limits)
    await eventually(lambda: limits_in(raw, keys) is not None)


@pytest.mark.parametrize("size", [MAX_EVENT_BYTES // 2])
async def test_limits_are_applied_despite_a_key_of_a_wrong_type(
    serve: ServeFixture,
    address: RedisAddress,
    raw: redis.Redis,
    keys: Keys,
    publisher: Publisher,
    size: int,
) -> None:
    publish_repeatedly(publisher, "report", 10, text="x" * size)
    raw.delete(keys.history("report", "log"))
    raw.set(keys.history("report", "log"), "no stream")
    serve(address, keep_status="0.1MB")
    await eventually(
        lambda: int(raw.memory_usage(keys.history("report"), samples=0) or 0) < MB // 10
    )
