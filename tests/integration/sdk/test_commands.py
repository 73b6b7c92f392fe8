"""What a service offers to do, and what is said of it: through a real Redis, with the server's side of it called directly."""

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


class Board:
    """Sends commands as a server would, and reads what became of them."""

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
        assert isinstance(self._ask(lambda commands: commands.send(sent)), Cursor)
        return sent.command_id

    def listens(self, service: Service) -> dict[str, Any] | None:
        """Return what a service listens for, by name; None when it does not."""
        found = self._ask(
            lambda commands: commands.read_listeners(service.name, [service.instance])
        )
        return found[service.instance].commands if found else None

    def steps(self, command_id: str) -> list[str]:
        return [receipt.receipt for receipt in self.read(command_id).receipts]

    def read(self, command_id: str) -> CommandRecord:
        record: CommandRecord = self._ask(lambda commands: commands.read(command_id))
        assert record is not None
        return record

    def done(self, command_id: str) -> Any:
        """Wait until it is done; return its result."""
        eventually(lambda: self.steps(command_id)[-1:] == ["done"])
        return json.loads(json_text(self.read(command_id).receipts[-1].result))

    def last(self, command_id: str, step: str) -> Any:
        """Wait until this is the last receipt; return it."""
        eventually(lambda: self.steps(command_id)[-1:] == [step])
        return self.read(command_id).receipts[-1]

    def _ask(self, question: Callable[[CommandSender], Any]) -> Any:
        async def ask() -> Any:
            async with BusClient(self._address, self._keys) as bus:
                return await question(CommandSender(bus, Rejections(), prefix=self._prefix))

        return asyncio.run(ask())


@pytest.fixture
def board(address: RedisAddress, keys: Keys, prefix: str) -> Board:
    return Board(address, keys, prefix)


def test_arguments_come_as_the_handler_wants_them(make_service: MakeService, board: Board) -> None:
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

        Of all that there is.
        """
        return {
            "hours": window.hours,
            "mode": mode,
            "share": share,
            "window": type(window).__name__,
        }

    service.start()
    eventually(lambda: board.listens(service))
    offers = board.listens(service)
    assert offers is not None
    assert offers["report"].description == "Make a report."
    assert sorted(offers) == ["ping", "report"]
    wanted = {"hours": 3, "mode": "slow", "share": 0.5, "window": "Window"}
    assert board.done(board.send("report", service, window={"hours": 3}, mode="slow")) == wanted
    for args in (
        {},
        {"window": {"hours": "x"}},
        {"window": {"hours": 1}, "share": 2},
        {"window": {"hours": 1}, "x": 1},
    ):
        refused = board.last(board.send("report", service, **args), "refused")
        assert refused.reason.startswith("bad-arguments: ")
    assert (
        board.last(board.send("nothing", service), "refused").reason
        == "unknown-command: its commands are ping, report"
    )


def test_what_a_status_says_of_commands_follows_what_is_offered(
    make_service: MakeService, redis_view: RedisView, board: Board
) -> None:
    service = make_service()
    eventually(lambda: redis_view.events)
    assert "commands" not in redis_view.events[-1]
    assert board.listens(service) is None
    service.enable_commands("pause", "resume")
    eventually(lambda: redis_view.events[-1].get("commands") == ["pause", "ping", "resume"])
    service.command("later")(lambda: None)
    eventually(lambda: "later" in (board.listens(service) or ()))
    eventually(
        lambda: redis_view.events[-1].get("commands") == ["later", "pause", "ping", "resume"]
    )
    service.stop()
    assert "commands" not in redis_view.events[-1]


@pytest.fixture
async def loop_service(make_service: MakeService) -> AsyncIterator[Service]:
    async with make_service(start=False) as service:
        yield service


async def test_an_async_handler_runs_in_the_loop_that_the_service_was_started_in(
    loop_service: Service, board: Board
) -> None:
    here = asyncio.get_running_loop()

    @loop_service.command("where")
    async def where() -> bool:
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is here

    @loop_service.command("thread")
    def thread() -> bool:
        return threading.current_thread() is threading.main_thread()

    await asyncio.to_thread(eventually, lambda: "thread" in (board.listens(loop_service) or ()))

    def do(command: str) -> Any:
        return board.done(board.send(command, loop_service))

    assert await asyncio.to_thread(do, "where") is True
    assert await asyncio.to_thread(do, "thread") is False


def test_an_async_handler_whose_loop_is_closed_has_failed(
    make_service: MakeService, board: Board
) -> None:
    loop = asyncio.new_event_loop()
    begun = threading.Event()
    service = make_service(start=False)

    @service.command("wait")
    async def wait() -> None:
        begun.set()
        await asyncio.sleep(60)

    async def start() -> None:
        service.start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    eventually(lambda: board.listens(service))
    sent = board.send("wait", service)
    assert begun.wait(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert "event loop was closed" in board.last(sent, "failed").error


def test_an_async_handler_runs_without_a_loop_too(make_service: MakeService, board: Board) -> None:
    service = make_service()

    @service.command("alone")
    async def alone() -> int:
        await asyncio.sleep(0)
        return 7

    eventually(lambda: board.listens(service))
    assert board.done(board.send("alone", service)) == 7


@pytest.mark.parametrize("error", [ValueError("token=abcdef"), SystemExit(3), KeyboardInterrupt()])
def test_a_handler_that_raises_fails_and_says_how(
    make_service: MakeService, board: Board, redis_view: RedisView, error: BaseException
) -> None:
    service = make_service()

    @service.command("fail")
    def fail() -> None:
        raise error

    eventually(lambda: board.listens(service))
    failed = board.last(board.send("fail", service), "failed")
    assert failed.error.startswith(type(error).__name__)
    assert "abcdef" not in failed.error
    eventually(lambda: redis_view.lines)
    assert redis_view.lines[0]["logger"] == "pulseboard.command"
    assert "in fail" in redis_view.lines[0]["traceback"]
    assert board.done(board.send("ping", service))


def test_a_result_that_is_no_json_or_too_much_is_told_as_text(
    make_service: MakeService, board: Board
) -> None:
    service = make_service()
    service.command("object")(lambda: {"when": threading.current_thread, "far": float("inf")})
    service.command("much")(lambda: "x" * 100_000)
    eventually(lambda: board.listens(service))
    assert "current_thread" in board.done(board.send("object", service))["when"]
    assert board.done(board.send("much", service)) == "(omitted: 100002 bytes is too large)"


def test_slow_commands_hold_up_neither_others_nor_beats_and_there_is_an_end_to_them(
    make_service: MakeService, board: Board, redis_view: RedisView
) -> None:
    service = make_service(heartbeat_s=0.1)
    going = threading.Event()
    service.command("slow")(lambda: going.wait(20))
    eventually(lambda: board.listens(service))
    slow = [board.send("slow", service) for _ in range(8)]
    for command_id in slow:
        board.last(command_id, "accepted")
    before = len(redis_view.heartbeats)
    refused = board.last(board.send("ping", service), "refused")
    assert refused.reason.startswith("busy")
    eventually(lambda: len(redis_view.heartbeats) > before + 2)
    going.set()
    assert [board.done(command_id) for command_id in slow] == [True] * 8
    assert board.done(board.send("ping", service))


def test_a_stop_says_what_became_of_what_was_being_done(
    make_service: MakeService, board: Board, redis_view: RedisView, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service()
    service.command("slow")(lambda: threading.Event().wait(20))
    service.command("quick")(lambda: time.sleep(0.1))
    eventually(lambda: board.listens(service))
    slow, quick = board.send("slow", service), board.send("quick", service)
    board.last(slow, "accepted")
    eventually(lambda: "accepted" in board.steps(quick))
    service.stop()
    assert board.read(slow).receipts[-1].reason == "stopped"
    assert board.steps(quick)[-1] == "done"
    assert redis_view.events[-1]["stopped"] is True
    # What is sent after the goodbye is nobody's.
    late = board.send("quick", service)
    raw.delete(
        keys.listener(service.name, service.instance)
    )  # what the first run said holds for 12 s
    service.start()
    eventually(lambda: board.listens(service))
    assert board.done(board.send("ping", service))
    assert board.steps(late) == []


def test_a_command_that_somebody_puts_there_again_is_done_once(
    make_service: MakeService, board: Board, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service()
    done: list[int] = []
    service.command("note")(lambda: done.append(1))
    eventually(lambda: board.listens(service))
    assert board.done(board.send("note", service)) is None
    rows: Any = raw.xrange(keys.commands)
    for _ in range(3):
        raw.xadd(keys.commands, rows[-1][1])
    assert board.done(board.send("ping", service))
    assert done == [1]


def test_a_command_whose_time_is_over_is_not_begun(make_service: MakeService, board: Board) -> None:
    service = make_service()
    done: list[int] = []
    service.command("note")(lambda: done.append(1))
    eventually(lambda: board.listens(service))
    late = board.send("note", service, deadline_s=-1)
    assert board.last(late, "expired").reason == "its deadline had passed when it was received"
    assert board.done(board.send("note", service)) is None
    assert done == [1]


def test_pause_and_resume_are_for_the_host_to_heed(make_service: MakeService, board: Board) -> None:
    service = make_service().enable_commands("pause", "resume")
    eventually(lambda: board.listens(service))
    before = service.paused
    assert board.done(board.send("pause", service)) == {"paused": True}
    assert (before, service.paused) == (False, True)
    assert service.wait_while_paused(0.01) is False
    assert board.done(board.send("resume", service)) == {"paused": False}
    assert service.wait_while_paused(0.01) is True


def test_the_log_level_is_set(make_service: MakeService, board: Board) -> None:
    service = make_service().enable_commands("log-level")
    eventually(lambda: board.listens(service))
    logger = logging.getLogger("some.logger")
    told = board.done(board.send("log-level", service, level="debug", logger="some.logger"))
    assert told == {"logger": "some.logger", "before": "notset", "level": "debug"}
    assert logger.level == logging.DEBUG


def test_a_restart_ends_the_process_with_a_planned_goodbye(
    run_program: RunProgram, redis_view: RedisView, board: Board
) -> None:
    host = run_program(
        "service.enable_commands('restart')\nservice.start()\nprint(service.instance, flush=True)\nwait()"
    )
    assert host.stdout is not None
    double: Any = type("", (), {"name": "balance-sync", "instance": host.stdout.readline().strip()})
    eventually(lambda: board.listens(double))
    command_id = board.send("restart", double)
    assert host.wait(20) == -15
    assert board.steps(command_id) == ["received", "accepted", "done"]
    assert redis_view.events[-1]["back_in_s"] == 60


def test_a_forked_child_listens_for_itself(
    run_program: RunProgram, board: Board, redis_view: RedisView
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
        double: Any = type("", (), {"name": "balance-sync", "instance": instance})
        eventually(partial(board.listens, double))
        assert board.done(board.send("pid", double)) == int(instance.partition(":")[2])


def test_receipts_wait_for_redis(
    make_service: MakeService, keys: Keys, prefix: str, own_valkey: Any
) -> None:
    service = make_service(redis_url=own_valkey.address.url)
    board = Board(own_valkey.address, keys, prefix)
    going = threading.Event()
    service.command("slow")(lambda: going.wait(20))
    eventually(lambda: board.listens(service))
    command_id = board.send("slow", service)
    board.last(command_id, "accepted")
    own_valkey.stop()
    going.set()
    eventually(lambda: not service.stats().connected)
    own_valkey.start()
    eventually(lambda: board.steps(command_id) == ["received", "accepted", "done"])


@pytest.mark.parametrize(
    ("offer", "complaint"),
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
def test_an_offer_that_cannot_be_one_says_so(
    make_service: MakeService, offer: Callable[[Service], Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        offer(make_service(start=False))


def test_a_short_key_is_refused(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="at least 16 characters"):
        make_service(command_key="short")
    monkeypatch.setenv("PULSEBOARD_COMMAND_KEY", "short too")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        make_service()


def test_a_stranger_in_the_commands_stream_does_not_deafen(
    make_service: MakeService, board: Board, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service().enable_commands("pause")
    eventually(lambda: board.listens(service))
    for data in (b"", b"{", b"[]", b'{"command_id": 5}', b"\xff" * 10):
        raw.xadd(keys.commands, {"service": service.name, "data": data})
    raw.xadd(keys.commands, {"other": "fields"})
    assert board.done(board.send("ping", service))
