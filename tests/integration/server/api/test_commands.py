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
    process = run_instance("a")
    await till.wait_until_listening("a")
    process.kill(signal.SIGSTOP)
    command_id = till.send("count", deadline_s=0.5)
    await till.wait_until_final(command_id, "a")
    process.kill(signal.SIGCONT)
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
    process = run_instance("a", "service.command('slow')(lambda: time.sleep(60))")
    run_instance("b")
    await till.wait_until_listening("a", "b")
    # More commands than one page of the expiry check.
    begun = [till.send("slow", deadline_s=80_000) for _ in range(4)]
    await eventually(lambda: all("accepted" in till.steps(each).get("a", ()) for each in begun))
    process.kill(signal.SIGSTOP)
    command_id = till.send("count", deadline_s=80_000)
    process.kill()
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
    process = run_instance("a", "service.command('slow')(lambda: time.sleep(1) or 'slept')")
    await till.wait_until_listening("a")
    command_id = till.send("slow")
    await eventually(lambda: "accepted" in till.steps(command_id).get("a", ()))
    process.kill(signal.SIGSTOP)
    receipts = await till.wait_until_final(command_id, "a")
    assert receipts["a"][-1]["reason"] == "lost"
    process.kill(signal.SIGCONT)
    await eventually(lambda: till.steps(command_id)["a"][-1] == "done")
    assert till.receipts(command_id)["a"][-1]["result"] == "slept"


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
