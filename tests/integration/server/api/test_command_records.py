"""Records of commands: their lifetime in Redis, and the audit."""

import redis
from tests.support.commands import RunInstance, TillClient

from pulseboard.bus.keys import Keys


async def test_records_of_large_commands_expire_sooner_when_there_are_many(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    assert raw.ttl(keys.command(till.send("count"))) > 86_400
    for _ in range(150):
        raw.xadd(keys.commands, {"service": "other", "data": "x" * 15_000, "signature": ""})
    assert 0 < raw.ttl(keys.command(till.send("count"))) < 1_000


async def test_argument_named_expires_does_not_change_the_lifetime_of_the_record(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    run_instance("a", "service.command('note')(lambda expires: expires)")
    await till.wait_until_listening("a")
    command_id = till.send("note", args={"expires": 9_999_999_999_999})
    assert raw.ttl(keys.command(command_id)) <= 7 * 86_400 + 31
    receipts = await till.wait_until_final(command_id, "a")
    assert receipts["a"][-1]["result"] == 9_999_999_999_999


async def test_audit_has_the_origin_of_a_command_and_its_receipts(
    till: TillClient, run_instance: RunInstance
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    command_id = till.send("count")
    await till.wait_until_final(command_id, "a")
    (kind, command), *receipts = till.audit()
    assert (
        kind,
        command["command_id"],
        command["command"],
        command["origin"],
        command["source"],
    ) == (
        "command",
        command_id,
        "count",
        "127.0.0.1",
        "api",
    )
    assert [(each["instance"], each["receipt"]) for _, each in receipts] == [
        ("a", "received"),
        ("a", "accepted"),
        ("a", "done"),
    ]


async def test_records_expire_sooner_when_there_are_many_commands(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    week_s = 7 * 86_400
    first = till.send("ping", deadline_s=100)
    assert week_s + 90 < raw.ttl(keys.command(first)) <= week_s + 101
    for _ in range(1_000):
        raw.xadd(keys.commands, {"service": "other"})
    later = till.send("ping", deadline_s=100)
    assert 690 < raw.ttl(keys.command(later)) <= 701
