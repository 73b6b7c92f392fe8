"""Hostile content of Redis: it neither harms the server nor makes an instance run a command."""

import json
import signal
from typing import Any

import pytest
import redis
from tests.support.commands import RunInstance, TillClient
from tests.support.server import ServeFixture, Server, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys

HOSTILE = [  # tests/unit/control/test_arguments.py has more
    {"$ref": "#"},
    {"properties": {"by": {"pattern": "^(a+)+$"}}},
    {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
    {"type": 7},
]


@pytest.mark.parametrize("schema", HOSTILE)
async def test_hostile_schema_in_redis_does_not_harm_the_server(
    till: TillClient,
    server: Server,
    run_instance: RunInstance,
    raw: redis.Redis,
    keys: Keys,
    prefix: str,
    schema: dict[str, Any],
) -> None:
    status = {"service": "fake", "timestamp": 1, "status": {}, "instance": "i", "heartbeat_s": 60}
    raw.publish(f"{prefix}fake", json.dumps(status))
    listener = {"run": "x", "commands": {"go": {"description": "", "args": schema}}}
    raw.set(keys.listener("fake", "i"), json.dumps(listener))
    await eventually(lambda: server.runtime.hub.states("fake"))
    args = {"by": "a" * 40 + "!", "a" * 40 + "!": 1}
    answer = server.request(
        "POST", "/api/services/fake/commands", json={"command": "go", "args": args}
    )
    assert answer.status_code == 202
    raw.publish(f"{prefix}commands", json.dumps({"command": "go", "service": "fake", "args": args}))
    await eventually(lambda: [kind for kind, _ in till.audit()] == ["command", "command"])
    assert server.is_ready()


async def test_foreign_entries_among_the_open_commands_do_not_keep_a_command_open(
    till: TillClient, server: Server, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    process = run_instance("a")
    await till.wait_until_listening("a")
    raw.set(keys.command("c0ffee"), "no hash")
    raw.zadd(keys.open_commands, {b"\xff\xfe": 0, b"c0ffee": 1, b"unknown id": 2})
    process.kill(signal.SIGSTOP)
    await till.wait_until_final(till.send("count", deadline_s=0.5), "a")
    assert server.is_ready()
    await eventually(lambda: not raw.zcard(keys.open_commands))


KEY = "a key of good length"


async def test_instance_with_a_command_key_runs_only_signed_commands(
    run_instance: RunInstance,
    serve: ServeFixture,
    address: RedisAddress,
    raw: redis.Redis,
    keys: Keys,
    prefix: str,
) -> None:
    server = serve(address, command_key=KEY)
    await eventually(server.is_ready)
    till = TillClient(server, raw, keys)
    run_instance("a", PULSEBOARD_COMMAND_KEY=KEY)
    await till.wait_until_listening("a")
    command_id = till.send("count")
    assert [each["receipt"] for each in (await till.wait_until_final(command_id, "a"))["a"]] == [
        "received",
        "accepted",
        "done",
    ]
    # An attacker with access to Redis alone publishes an external command, repeats a signed
    # command, changes a signed command, and forges one without a signature.
    raw.publish(
        f"{prefix}commands", json.dumps({"command": "count", "service": "till", "args": {"by": 7}})
    )
    await eventually(lambda: server.health()["dropped"] == {"command-refused": 1})
    await eventually(lambda: [each for _, each in till.audit() if each.get("source") == "publish"])
    (attempt,) = (each for _, each in till.audit() if each.get("source") == "publish")
    assert (attempt["command"], attempt["args"], attempt["instances"]) == ("count", {"by": 7}, [])
    assert attempt["refused"] == "command-refused: this server does not accept external commands"
    rows: Any = raw.xrange(keys.commands)
    (signed,) = (fields for _, fields in rows if fields.get(b"signature"))
    command = json.loads(signed[b"data"])
    forged = [signed]
    for change in (
        {"args": {"by": 100}},
        {"command_id": "f" * 32, "expires": command["expires"] + 10**9},
    ):
        changed = command | change
        raw.hset(keys.command(changed["command_id"]), "data", json.dumps(changed))
        forged.append(signed | {b"data": json.dumps(changed).encode()})
    forged.append(signed | {b"signature": b""})
    for fields in forged:
        raw.xadd(keys.commands, fields)
    last = till.send("count")
    await till.wait_until_final(last, "a")
    refusals = [
        each["reason"].split(":")[0] for _, each in till.audit() if each.get("receipt") == "refused"
    ]
    assert till.run_counts() == {"a": 2}
    assert refusals == ["bad-signature"]  # repetitions have the id of the first command


async def test_command_of_a_server_without_the_command_key_is_refused(
    till: TillClient, run_instance: RunInstance
) -> None:
    run_instance("a", PULSEBOARD_COMMAND_KEY=KEY)
    await till.wait_until_listening("a")
    receipts = await till.wait_until_final(till.send("count"), "a")
    assert [each["receipt"] for each in receipts["a"]] == ["refused"]
    assert receipts["a"][0]["reason"].startswith("unsigned")
