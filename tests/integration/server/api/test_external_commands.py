"""External commands: each runs once, and each refusal is counted and audited."""

import json

import redis
from tests.support.commands import RunInstance, TillClient
from tests.support.server import ServeFixture, Server, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys


async def test_external_command_runs_once_although_two_servers_receive_it(
    till: TillClient,
    run_instance: RunInstance,
    raw: redis.Redis,
    prefix: str,
    serve: ServeFixture,
    address: RedisAddress,
) -> None:
    await eventually(serve(address).is_ready)  # a second server receives the command too
    for name in "ab":
        run_instance(name)
    await till.wait_until_listening("a", "b")
    raw.publish(f"{prefix}commands", json.dumps({"command": "count", "service": "till"}))
    await eventually(lambda: till.run_counts() == {"a": 1, "b": 1})
    raw.publish(
        f"{prefix}commands",
        json.dumps({"command": "count", "service": "till", "instance": "b", "args": {"by": 5}}),
    )
    await eventually(lambda: till.run_counts() == {"a": 1, "b": 6})
    await eventually(
        lambda: (
            [each["receipt"] for kind, each in till.audit() if kind == "receipt"].count("done") == 3
        )
    )
    assert [
        (each["command"], each["source"]) for kind, each in till.audit() if kind == "command"
    ] == [("count", "publish")] * 2


async def test_external_command_without_a_listener_is_audited_with_the_reason(
    till: TillClient, server: Server, raw: redis.Redis, prefix: str
) -> None:
    raw.publish(f"{prefix}commands", json.dumps({"command": "count", "service": "balance-sync"}))
    raw.publish(f"{prefix}commands", json.dumps({"command": "count"}))
    await eventually(lambda: server.health()["dropped"] == {"command-refused": 1, "wrong-type": 1})
    await eventually(
        lambda: [each["refused"].split(":")[0] for _, each in till.audit()] == ["no-listener"]
    )


async def test_refused_external_commands_do_not_displace_other_audit_entries(
    till: TillClient, server: Server, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    for n in range(300):
        command = {
            "command": "count",
            "service": "balance-sync",
            "args": {"n": n, "text": "x" * 15_000},
        }
        raw.publish(f"{prefix}commands", json.dumps(command))
    await eventually(lambda: server.health()["dropped"] == {"command-refused": 300})
    await eventually(lambda: len(till.audit()) == 10)
    assert [(each["args"], "args omitted: 15" in each["refused"]) for _, each in till.audit()] == [
        ({}, True)
    ] * 10
    assert raw.xlen(keys.commands) == 0
    assert list(raw.scan_iter(keys.command("*"))) == []


async def test_refused_external_commands_beyond_the_audit_limit_still_count_as_ingested(
    till: TillClient, server: Server, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    """Servers leave different messages out of the audit; each of them must count as ingested.

    Otherwise the same command could be lost once an instance listens again.
    """
    for _ in range(15):
        raw.publish(
            f"{prefix}commands", json.dumps({"command": "count", "service": "balance-sync"})
        )
    await eventually(lambda: server.health()["dropped"] == {"command-refused": 15})
    await eventually(
        lambda: [raw.hget(key, "n") for key in raw.scan_iter(keys.ingested("*", "*"))] == [b"15"]
    )
    assert len(till.audit()) == 10
