"""Commands through a real server to real processes: each runs at most once, with receipts."""

import json
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import redis
from jsonschema import Draft202012Validator
from tests.support.commands import RunInstance, TillClient
from tests.support.server import ServeFixture, Server, eventually
from tests.support.valkey import run_valkey

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.control.expiry import ExpiryCheck

SPEC = Path(__file__).parents[4] / "spec"


def validate(kind: str, data: dict[str, Any]) -> None:
    """Validate the data of an event against its schema."""
    Draft202012Validator(json.loads((SPEC / f"{kind}.schema.json").read_text("utf-8"))).validate(
        data
    )


async def test_every_instance_runs_a_command_once_and_sends_its_receipts(
    till: TillClient, run_instance: RunInstance, server: Server
) -> None:
    for name in "abc":
        run_instance(name)
    await till.wait_until_listening("a", "b", "c")
    async with await server.open("/api/stream?kinds=command,receipt") as stream:
        await stream.next()
        command_id = till.send("count", args={"by": 2})
        sent = await stream.next()
        assert (sent.event, sent.data["command_id"], sorted(sent.data["instances"])) == (
            "command",
            command_id,
            ["a", "b", "c"],
        )
        live = [await stream.next() for _ in range(9)]
    validate("command", sent.data)
    for receipt in live:
        validate("receipt", receipt.data)
    receipts = await till.wait_until_final(command_id, "a", "b", "c")
    assert till.steps(command_id) == {name: ["received", "accepted", "done"] for name in "abc"}
    assert sorted((each.data["instance"], each.data["receipt"]) for each in live) == sorted(
        (name, each["receipt"]) for name, steps in receipts.items() for each in steps
    )
    assert receipts["b"][-1]["result"] == 2
    assert till.run_counts() == {"a": 2, "b": 2, "c": 2}


async def test_command_to_one_instance_runs_only_there(
    till: TillClient, run_instance: RunInstance
) -> None:
    for name in "ab":
        run_instance(name)
    await till.wait_until_listening("a", "b")
    command_id = till.send("count", instance="b")
    await till.wait_until_final(command_id, "b")
    assert till.steps(command_id) == {"b": ["received", "accepted", "done"]}
    assert till.run_counts() == {"b": 1}


ACCEPTED_RECEIPT_FIRST = """
# The receipt "accepted" is published before execution goes on, so that the instance is killed
# in exactly the stage that the test names.
report, publish_receipt = CommandExecutor.report, Publisher.publish_receipt
published = threading.Semaphore(0)

def publish_and_release(publisher, receipt):
    publish_receipt(publisher, receipt)
    published.release()

def report_and_wait(executor, command, step, **more):
    report(executor, command, step, **more)
    if step == "accepted":
        published.acquire()

Publisher.publish_receipt, CommandExecutor.report = publish_and_release, report_and_wait
"""
KILLED = {
    "before the receipt received": ("CommandReceiver.claim = die", ["expired"], "not-started"),
    "after the receipt received": ("CommandRunner._begin = die", ["received", "failed"], "lost"),
    "after the receipt accepted": (
        "CommandExecutor._execute = die",
        ["received", "accepted", "failed"],
        "lost",
    ),
    "during execution": (
        "service.command('count')(lambda: (count(), die()))",
        ["received", "accepted", "failed"],
        "lost",
    ),
    "before the receipt done": (
        """
        send = CommandExecutor._send_receipt
        CommandExecutor._send_receipt = lambda self, receipt: (
            die() if receipt.receipt == "done" else send(self, receipt)
        )
        """,
        ["received", "accepted", "failed"],
        "lost",
    ),
}


@pytest.mark.parametrize("stage", KILLED)
async def test_kill_of_one_instance_at_any_stage_leaves_the_other_two_unaffected(
    till: TillClient, run_instance: RunInstance, stage: str
) -> None:
    program, steps, reason = KILLED[stage]
    killed = run_instance("a", ACCEPTED_RECEIPT_FIRST + textwrap.dedent(program))
    run_instance("b")
    run_instance("c")
    await till.wait_until_listening("a", "b", "c")
    command_id = till.send("count", deadline_s=1)
    assert killed.wait() == -signal.SIGKILL
    # The instance restarts at once under its name, as under any supervisor.
    run_instance("a")
    receipts = await till.wait_until_final(command_id, "a", "b", "c")
    assert till.steps(command_id) == {
        "a": steps,
        "b": ["received", "accepted", "done"],
        "c": ["received", "accepted", "done"],
    }
    assert receipts["a"][-1]["reason"] in (reason, "restarted" if reason == "lost" else reason)
    await till.wait_until_listening("a", "b", "c")
    again = till.send("count")
    await till.wait_until_final(again, "a", "b", "c")
    was_counted = stage in ("during execution", "before the receipt done")
    assert till.run_counts() == {"a": 1 + was_counted, "b": 2, "c": 2}


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
    host = run_instance("a")
    await till.wait_until_listening("a")
    host.kill(signal.SIGTERM)
    host.wait()
    await eventually(lambda: till.post("count").status_code == 409)
    problem = till.post("count").json()
    assert (problem["code"], problem["states"]) == ("no-listener", {"a": "stopped"})
    assert "a is stopped" in problem["detail"]


async def test_command_is_refused_when_only_a_killed_run_had_listened(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    first = run_instance("a")
    await till.wait_until_listening("a")
    first.kill()
    first.wait()
    run_instance("a", "CommandReceiver.start = lambda self: time.sleep(60)\nservice.update(run=2)")
    await eventually(lambda: b'"run":2' in (raw.hget(keys.board, "till/a") or b""))
    await eventually(lambda: till.post("count").json()["states"] == {"a": "alive"})
    assert till.post("count").json()["code"] == "no-listener"


async def test_command_to_a_killed_run_expires_once_the_next_run_listens(
    till: TillClient, run_instance: RunInstance
) -> None:
    first = run_instance("a")
    await till.wait_until_listening("a")
    first.kill(signal.SIGSTOP)
    sent = till.send("count", deadline_s=300)
    first.kill()
    first.wait()
    run_instance("a")
    receipts = await till.wait_until_final(sent, "a")
    assert [(each["receipt"], each["reason"]) for each in receipts["a"]] == [
        ("expired", "not-started")
    ]
    assert "restarted" in receipts["a"][0]["error"]
    assert till.run_counts() == {}


async def test_command_that_does_not_start_before_its_deadline_expires_and_never_runs(
    till: TillClient, run_instance: RunInstance
) -> None:
    host = run_instance("a")
    await till.wait_until_listening("a")
    host.kill(signal.SIGSTOP)
    command_id = till.send("count", deadline_s=0.5)
    await till.wait_until_final(command_id, "a")
    host.kill(signal.SIGCONT)
    await till.wait_until_listening("a")
    later = till.send("count")
    await till.wait_until_final(later, "a")
    assert till.steps(command_id) == {"a": ["expired"]}
    assert till.run_counts() == {"a": 1}


async def test_command_with_a_late_deadline_expires_when_its_instance_stops_listening(
    till: TillClient,
    run_instance: RunInstance,
    raw: redis.Redis,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expiry_module = sys.modules[ExpiryCheck.__module__]
    monkeypatch.setattr(expiry_module, "NOT_LISTENING_MS", 500)
    monkeypatch.setattr("pulseboard.bus.commands.sender.OPEN_PAGE_SIZE", 2)
    monkeypatch.setattr(expiry_module, "OPEN_PAGE_SIZE", 2)
    host = run_instance("a", "service.command('slow')(lambda: time.sleep(60))")
    run_instance("b")
    await till.wait_until_listening("a", "b")
    # More commands than one page of the expiry check.
    begun = [till.send("slow", deadline_s=80_000) for _ in range(4)]
    await eventually(lambda: all("accepted" in till.steps(each).get("a", ()) for each in begun))
    host.kill(signal.SIGSTOP)
    command_id = till.send("count", deadline_s=80_000)
    host.kill()
    # The lease of the listener would end by itself, 12 s after its last renewal.
    raw.delete(keys.listener("till", "a"))
    receipts = await till.wait_until_final(command_id, "a", "b")
    assert (receipts["a"][-1]["receipt"], receipts["a"][-1]["error"]) == (
        "expired",
        "the instance is no longer listening",
    )
    assert receipts["b"][-1]["receipt"] == "done"


async def test_receipt_of_an_instance_replaces_the_verdict_that_it_was_lost(
    till: TillClient, run_instance: RunInstance
) -> None:
    host = run_instance("a", "service.command('slow')(lambda: time.sleep(1) or 'slept')")
    await till.wait_until_listening("a")
    command_id = till.send("slow")
    await eventually(lambda: "accepted" in till.steps(command_id).get("a", ()))
    host.kill(signal.SIGSTOP)
    receipts = await till.wait_until_final(command_id, "a")
    assert receipts["a"][-1]["reason"] == "lost"
    host.kill(signal.SIGCONT)
    await eventually(lambda: till.steps(command_id)["a"][-1] == "done")
    assert till.receipts(command_id)["a"][-1]["result"] == "slept"


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
    assert [(each["args"], "args left out: 15" in each["refused"]) for _, each in till.audit()] == [
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


async def test_records_of_large_commands_expire_sooner_when_there_are_many(
    till: TillClient, run_instance: RunInstance, raw: redis.Redis, keys: Keys
) -> None:
    run_instance("a")
    await till.wait_until_listening("a")
    assert raw.ttl(keys.command(till.send("count"))) > 86_400
    for _ in range(150):
        raw.xadd(keys.commands, {"service": "other", "data": "x" * 15_000, "signature": ""})
    assert 0 < raw.ttl(keys.command(till.send("count"))) < 1_000


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
    host = run_instance("a")
    await till.wait_until_listening("a")
    raw.set(keys.command("c0ffee"), "no hash")
    raw.zadd(keys.open_commands, {b"\xff\xfe": 0, b"c0ffee": 1, b"unknown id": 2})
    host.kill(signal.SIGSTOP)
    await till.wait_until_final(till.send("count", deadline_s=0.5), "a")
    assert server.is_ready()
    await eventually(lambda: not raw.zcard(keys.open_commands))


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


async def test_commands_arrive_again_after_a_redis_outage(
    run_instance: RunInstance, serve: ServeFixture, keys: Keys
) -> None:
    with run_valkey() as valkey:
        server = serve(valkey.address)
        await eventually(server.is_ready)
        with redis.Redis(port=valkey.address.port) as raw:
            till = TillClient(server, raw, keys)
            run_instance("a", redis_url=valkey.address.url)
            await till.wait_until_listening("a")
            first = till.send("count")
            await till.wait_until_final(first, "a")
            valkey.stop()
            await eventually(lambda: not server.is_ready())
            valkey.start()
            await eventually(server.is_ready)
            await till.wait_until_listening("a")
            await till.wait_until_final(till.send("count"), "a")
            # Commands from before the outage do not run again.
            assert till.run_counts() == {"a": 2}


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
