"""Commands that a service registers, and their receipts.

Redis is real; the tests call the server's side of the protocol directly.
"""

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import pytest
import redis
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually

from pulseboard import ConfigError, Service
from pulseboard.bus.commands.records import CommandRecord
from pulseboard.bus.commands.sender import CommandSender
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.wire.codec import json_text
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.command import Command


class CommandClient:
    """A client that sends commands as a server does, and reads their receipts."""

    def __init__(self, address: RedisAddress, keys: Keys, prefix: str) -> None:
        self._address, self._keys, self._prefix = address, keys, prefix

    def send(self, command: str, service: Service, *, deadline_s: float = 30, **args: Any) -> str:
        now_ms = time.time_ns() // 1_000_000
        expires = now_ms + round(deadline_s * 1000)
        sent = Command(
            uuid.uuid4().hex,
            service.name,
            command,
            [service.instance],
            msgspec.Raw(json.dumps(args).encode()),
            now_ms,
            expires,
        )
        assert isinstance(self._query(lambda commands: commands.send(sent)), Cursor)
        return sent.command_id

    def registered(self, service: Service) -> dict[str, Any] | None:
        """Return the commands that a service listens for, by name; None if it does not listen."""
        found = self._query(
            lambda commands: commands.read_listeners(service.name, [service.instance])
        )
        return found[service.instance].commands if found else None

    def steps(self, command_id: str) -> list[str]:
        return [receipt.receipt for receipt in self.read(command_id).receipts]

    def read(self, command_id: str) -> CommandRecord:
        record: CommandRecord = self._query(lambda commands: commands.read(command_id))
        assert record is not None
        return record

    def done(self, command_id: str) -> Any:
        """Wait until the command is done; return its result."""
        eventually(lambda: self.steps(command_id)[-1:] == ["done"])
        return json.loads(json_text(self.read(command_id).receipts[-1].result))

    def last(self, command_id: str, step: str) -> Any:
        """Wait until the last receipt is of this step; return the receipt."""
        eventually(lambda: self.steps(command_id)[-1:] == [step])
        return self.read(command_id).receipts[-1]

    def _query(self, query: Callable[[CommandSender], Any]) -> Any:
        async def run_query() -> Any:
            async with BusClient(self._address, self._keys) as bus:
                return await query(CommandSender(bus, Rejections(), prefix=self._prefix))

        return asyncio.run(run_query())


@pytest.fixture
def commands(address: RedisAddress, keys: Keys, prefix: str) -> CommandClient:
    return CommandClient(address, keys, prefix)


def test_arguments_are_converted_to_the_types_of_the_handler(
    make_service: MakeService, commands: CommandClient
) -> None:
    service = make_service(start=False)

    class Window(msgspec.Struct):
        hours: int

    @service.command("report")
    def report(
        window: Window,
        mode: Literal["fast", "slow"] = "fast",
        share: Annotated[float, msgspec.Meta(le=1)] = 0.5,
    ) -> dict[str, Any]:
        """Make a report.

        It covers everything.
        """
        return {
            "hours": window.hours,
            "mode": mode,
            "share": share,
            "window": type(window).__name__,
        }

    service.start()
    eventually(lambda: commands.registered(service))
    listed = commands.registered(service)
    assert listed is not None
    assert listed["report"].description == "Make a report."
    assert sorted(listed) == ["ping", "report"]
    expected = {"hours": 3, "mode": "slow", "share": 0.5, "window": "Window"}
    assert (
        commands.done(commands.send("report", service, window={"hours": 3}, mode="slow"))
        == expected
    )
    for args in (
        {},
        {"window": {"hours": "x"}},
        {"window": {"hours": 1}, "share": 2},
        {"window": {"hours": 1}, "x": 1},
    ):
        refused = commands.last(commands.send("report", service, **args), "refused")
        assert refused.reason.startswith("bad-arguments: ")
    assert (
        commands.last(commands.send("nothing", service), "refused").reason
        == "unknown-command: its commands are ping, report"
    )


def test_status_lists_the_commands_that_are_registered(
    make_service: MakeService, redis_view: RedisView, commands: CommandClient
) -> None:
    service = make_service()
    eventually(lambda: redis_view.events)
    assert "commands" not in redis_view.events[-1]
    assert commands.registered(service) is None
    service.enable_commands("pause", "resume")
    eventually(lambda: redis_view.events[-1].get("commands") == ["pause", "ping", "resume"])
    service.command("later")(lambda: None)
    eventually(lambda: "later" in (commands.registered(service) or ()))
    eventually(
        lambda: redis_view.events[-1].get("commands") == ["later", "pause", "ping", "resume"]
    )
    service.stop()
    assert "commands" not in redis_view.events[-1]


@pytest.fixture
async def loop_service(make_service: MakeService) -> AsyncIterator[Service]:
    async with make_service(start=False) as service:
        yield service


async def test_async_handler_runs_in_the_event_loop_of_the_service(
    loop_service: Service, commands: CommandClient
) -> None:
    service_loop = asyncio.get_running_loop()

    @loop_service.command("where")
    async def where() -> bool:
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is service_loop

    @loop_service.command("thread")
    def thread() -> bool:
        return threading.current_thread() is threading.main_thread()

    await asyncio.to_thread(
        eventually, lambda: "thread" in (commands.registered(loop_service) or ())
    )

    def do(command: str) -> Any:
        return commands.done(commands.send(command, loop_service))

    assert await asyncio.to_thread(do, "where") is True
    assert await asyncio.to_thread(do, "thread") is False


def test_async_handler_fails_when_its_event_loop_is_closed(
    make_service: MakeService, commands: CommandClient
) -> None:
    loop = asyncio.new_event_loop()
    started = threading.Event()
    service = make_service(start=False)

    @service.command("wait")
    async def wait() -> None:
        started.set()
        await asyncio.sleep(60)

    async def start() -> None:
        service.start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    eventually(lambda: commands.registered(service))
    command_id = commands.send("wait", service)
    assert started.wait(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert "event loop was closed" in commands.last(command_id, "failed").error


def test_async_handler_runs_without_an_event_loop_of_the_service(
    make_service: MakeService, commands: CommandClient
) -> None:
    service = make_service()

    @service.command("alone")
    async def alone() -> int:
        await asyncio.sleep(0)
        return 7

    eventually(lambda: commands.registered(service))
    assert commands.done(commands.send("alone", service)) == 7


@pytest.mark.parametrize("error", [ValueError("token=abcdef"), SystemExit(3), KeyboardInterrupt()])
def test_handler_that_raises_fails_with_the_error_and_a_log_line(
    make_service: MakeService, commands: CommandClient, redis_view: RedisView, error: BaseException
) -> None:
    service = make_service()

    @service.command("fail")
    def fail() -> None:
        raise error

    eventually(lambda: commands.registered(service))
    failed = commands.last(commands.send("fail", service), "failed")
    assert failed.error.startswith(type(error).__name__)
    assert "abcdef" not in failed.error
    eventually(lambda: redis_view.lines)
    assert redis_view.lines[0]["logger"] == "pulseboard.command"
    assert "in fail" in redis_view.lines[0]["traceback"]
    assert commands.done(commands.send("ping", service))


def test_result_that_is_not_json_or_too_large_is_sent_as_text(
    make_service: MakeService, commands: CommandClient
) -> None:
    service = make_service()
    service.command("object")(lambda: {"when": threading.current_thread, "infinite": float("inf")})
    service.command("large")(lambda: "x" * 100_000)
    eventually(lambda: commands.registered(service))
    assert "current_thread" in commands.done(commands.send("object", service))["when"]
    assert commands.done(commands.send("large", service)) == "(omitted: 100002 bytes is too large)"


def test_slow_commands_do_not_delay_heartbeats_and_others_are_refused_as_busy(
    make_service: MakeService, commands: CommandClient, redis_view: RedisView
) -> None:
    service = make_service(heartbeat_s=0.1)
    release = threading.Event()
    service.command("slow")(lambda: release.wait(20))
    eventually(lambda: commands.registered(service))
    slow = [commands.send("slow", service) for _ in range(8)]
    for command_id in slow:
        commands.last(command_id, "accepted")
    before = len(redis_view.heartbeats)
    refused = commands.last(commands.send("ping", service), "refused")
    assert refused.reason.startswith("busy")
    eventually(lambda: len(redis_view.heartbeats) > before + 2)
    release.set()
    assert [commands.done(command_id) for command_id in slow] == [True] * 8
    assert commands.done(commands.send("ping", service))


def test_stop_publishes_the_outcome_of_running_commands(
    make_service: MakeService,
    commands: CommandClient,
    redis_view: RedisView,
    raw: redis.Redis,
    keys: Keys,
) -> None:
    service = make_service()
    service.command("slow")(lambda: threading.Event().wait(20))
    service.command("quick")(lambda: time.sleep(0.1))
    eventually(lambda: commands.registered(service))
    slow, quick = commands.send("slow", service), commands.send("quick", service)
    commands.last(slow, "accepted")
    eventually(lambda: "accepted" in commands.steps(quick))
    service.stop()
    assert commands.read(slow).receipts[-1].reason == "stopped"
    assert commands.steps(quick)[-1] == "done"
    assert redis_view.events[-1]["stopped"] is True
    # A command that is sent after the graceful stop is not run by the next run of the service.
    late = commands.send("quick", service)
    # The listener entry of the first run is valid for 12 s.
    raw.delete(keys.listener(service.name, service.instance))
    service.start()
    eventually(lambda: commands.registered(service))
    assert commands.done(commands.send("ping", service))
    assert commands.steps(late) == []


def test_command_that_is_appended_again_is_executed_once(
    make_service: MakeService, commands: CommandClient, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service()
    done: list[int] = []
    service.command("note")(lambda: done.append(1))
    eventually(lambda: commands.registered(service))
    assert commands.done(commands.send("note", service)) is None
    rows: Any = raw.xrange(keys.commands)
    for _ in range(3):
        raw.xadd(keys.commands, rows[-1][1])
    assert commands.done(commands.send("ping", service))
    assert done == [1]


def test_command_past_its_deadline_is_not_executed(
    make_service: MakeService, commands: CommandClient
) -> None:
    service = make_service()
    done: list[int] = []
    service.command("note")(lambda: done.append(1))
    eventually(lambda: commands.registered(service))
    late = commands.send("note", service, deadline_s=-1)
    assert commands.last(late, "expired").reason == "its deadline had passed when it was received"
    assert commands.done(commands.send("note", service)) is None
    assert done == [1]


def test_pause_and_resume_set_a_flag_for_the_host_application(
    make_service: MakeService, commands: CommandClient
) -> None:
    service = make_service().enable_commands("pause", "resume")
    eventually(lambda: commands.registered(service))
    before = service.paused
    assert commands.done(commands.send("pause", service)) == {"paused": True}
    assert (before, service.paused) == (False, True)
    assert service.wait_while_paused(0.01) is False
    assert commands.done(commands.send("resume", service)) == {"paused": False}
    assert service.wait_while_paused(0.01) is True


def test_log_level_command_sets_the_level(
    make_service: MakeService, commands: CommandClient
) -> None:
    service = make_service().enable_commands("log-level")
    eventually(lambda: commands.registered(service))
    logger = logging.getLogger("some.logger")
    result = commands.done(commands.send("log-level", service, level="debug", logger="some.logger"))
    assert result == {"logger": "some.logger", "before": "notset", "level": "debug"}
    assert logger.level == logging.DEBUG


def test_restart_ends_the_process_with_a_planned_return(
    run_program: RunProgram, redis_view: RedisView, commands: CommandClient
) -> None:
    program = run_program(
        """
        service.enable_commands("restart")
        service.start()
        print(service.instance, flush=True)
        wait()
        """
    )
    assert program.stdout is not None
    target: Any = type(
        "", (), {"name": "balance-sync", "instance": program.stdout.readline().strip()}
    )
    eventually(lambda: commands.registered(target))
    command_id = commands.send("restart", target)
    assert program.wait(20) == -15
    assert commands.steps(command_id) == ["received", "accepted", "done"]
    assert redis_view.events[-1]["back_in_s"] == 60


def test_forked_child_receives_its_own_commands(
    run_program: RunProgram, commands: CommandClient, redis_view: RedisView
) -> None:
    run_program("""
        import os
        service.command("pid")(lambda: os.getpid())
        service.start()
        parent = os.getpid()
        if not os.fork():
            service.update(child=True)
            while os.getppid() == parent:
                time.sleep(0.02)
            os._exit(0)
        wait()
    """)
    eventually(lambda: len(redis_view.board) == 2)
    for field in redis_view.board:
        instance = field.partition("/")[2]
        target: Any = type("", (), {"name": "balance-sync", "instance": instance})
        eventually(partial(commands.registered, target))
        assert commands.done(commands.send("pid", target)) == int(instance.partition(":")[2])


def test_receipts_wait_during_an_outage(
    make_service: MakeService, keys: Keys, prefix: str, own_valkey: Any
) -> None:
    service = make_service(redis_url=own_valkey.address.url)
    commands = CommandClient(own_valkey.address, keys, prefix)
    release = threading.Event()
    service.command("slow")(lambda: release.wait(20))
    eventually(lambda: commands.registered(service))
    command_id = commands.send("slow", service)
    commands.last(command_id, "accepted")
    own_valkey.stop()
    release.set()
    eventually(lambda: not service.stats().connected)
    own_valkey.start()
    eventually(lambda: commands.steps(command_id) == ["received", "accepted", "done"])


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda service: service.command("No")(lambda: None), "cannot name a command"),
        (lambda service: service.command(5)(lambda: None), "expected string"),
        (lambda service: service.command("x")("no function"), "must be a function"),
        (lambda service: service.command("x")(lambda *args: None), "by name"),
        (lambda service: service.command("x")(lambda **args: None), "by name"),
        (lambda service: service.command("x")(print), "by name"),
        (lambda service: service.enable_commands("trigger"), "is not a built-in command"),
        (lambda service: [service.command(f"x{n}")(lambda: None) for n in range(60)], "at most 50"),
    ],
)
def test_invalid_registration_raises_config_error(
    make_service: MakeService, register: Callable[[Service], Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        register(make_service(start=False))


def test_short_command_key_raises_config_error(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="choose one of at least 16"):
        make_service(command_key="short")
    monkeypatch.setenv("PULSEBOARD_COMMAND_KEY", "short too")
    with pytest.raises(ConfigError, match="choose one of at least 16"):
        make_service()


def test_invalid_entries_in_the_command_stream_are_skipped(
    make_service: MakeService, commands: CommandClient, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service().enable_commands("pause")
    eventually(lambda: commands.registered(service))
    for data in (b"", b"{", b"[]", b'{"command_id": 5}', b"\xff" * 10):
        raw.xadd(keys.commands, {"service": service.name, "data": data})
    raw.xadd(keys.commands, {"other": "fields"})
    assert commands.done(commands.send("ping", service))
