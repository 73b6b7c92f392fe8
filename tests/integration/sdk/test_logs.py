"""Log lines from `logging` and `Service.log` reach the feed, the history and the channel.

They are masked, bounded and counted.
"""

import json
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually
from tests.support.valkey import free_port

from pulseboard import Service
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.wire.errors import ConfigError


class LogView:
    """The log lines of `balance-sync` in Redis."""

    def __init__(self, raw: redis.Redis, keys: Keys) -> None:
        self._raw = raw
        self._keys = keys

    @property
    def batches(self) -> list[dict[str, Any]]:
        rows: Any = self._raw.xrange(self._keys.history("balance-sync", "log"))
        return [json.loads(fields[b"data"]) for _, fields in rows]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for batch in self.batches for line in batch["lines"]]

    @property
    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines]

    @property
    def dropped(self) -> int:
        return sum(batch.get("dropped", 0) for batch in self.batches)


@pytest.fixture
def logs(raw: redis.Redis, keys: Keys) -> LogView:
    return LogView(raw, keys)


Attach = Callable[..., logging.Logger]


@pytest.fixture
def attach() -> Iterator[Attach]:
    """Add the handler of a service to the logger `host.work`."""
    logger = logging.getLogger("host.work")
    handlers: list[logging.Handler] = []

    def attach(service: Service, level: int = logging.NOTSET) -> logging.Logger:
        handlers.append(service.log_handler(level))
        logger.addHandler(handlers[-1])
        logger.setLevel(logging.DEBUG)
        return logger

    yield attach
    for handler in handlers:
        logger.removeHandler(handler)


def test_records_of_logging_are_kept_in_order_with_their_fields(
    make_service: MakeService, logs: LogView, attach: Attach
) -> None:
    logger = attach(make_service())
    logger.debug("starting %d workers", 3)
    logger.warning("slow", extra={"user": 7, "took_s": 1.5})
    try:
        int("row")
    except ValueError:
        logger.exception("no such row")
    logger.log(35, "between two levels")
    eventually(lambda: len(logs.lines) == 4)
    first, second, third, fourth = logs.lines
    assert (first["level"], first["message"], first["logger"]) == (
        "debug",
        "starting 3 workers",
        "host.work",
    )
    assert second["fields"] == {"user": 7, "took_s": 1.5}
    assert (third["level"], third["traceback"].splitlines()[-1]) == (
        "error",
        "ValueError: invalid literal for int() with base 10: 'row'",
    )
    assert "in test_records_of_logging_are_kept_in_order" in third["traceback"]
    assert fourth["level"] == "warning"


def test_line_on_pub_sub_has_the_compatible_json(
    make_service: MakeService, raw: redis.Redis, prefix: str, keys: Keys
) -> None:
    pubsub: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.subscribe(f"{prefix}logs")
        pubsub.get_message(timeout=5)
        service = make_service(instance="w-1")
        service.log("info", "synced", user=7)
        service.log("ERROR", "failed")
        eventually(lambda: raw.xlen(keys.history("balance-sync", "log")))
        messages = [json.loads(pubsub.get_message(timeout=5)["data"]) for _ in range(2)]
    for message, level, text in zip(messages, ("info", "error"), ("synced", "failed"), strict=True):
        assert (message["service"], message["instance"]) == ("balance-sync", "w-1")
        assert (message["level"], message["message"]) == (level, text)
        assert message["timestamp"] > 1_700_000_000_000
        assert re.fullmatch(r"\d+-\d+\.\d+", message["id"])
    assert messages[0]["fields"] == {"user": 7}
    assert raw.hgetall(keys.line_counts) == {
        b"balance-sync/info": b"1",
        b"balance-sync/error": b"1",
    }


def test_flood_drops_the_oldest_lines_and_reports_their_number(
    make_service: MakeService, logs: LogView
) -> None:
    service = make_service()
    for n in range(30_000):
        service.log("info", f"line {n}")
    service.log("info", "the last")
    eventually(lambda: not service.stats().lines.waiting)
    assert logs.messages[-1] == "the last"
    counts = service.stats().lines
    assert counts.offered == 30_001 == counts.sent + counts.overflowed
    assert counts.sent == len(logs.lines)
    assert counts.overflowed == logs.dropped > 0
    numbers = [int(message.split()[1]) for message in logs.messages[:-1]]
    assert numbers == sorted(set(numbers))


def test_waiting_long_lines_do_not_slow_down_later_lines(make_service: MakeService) -> None:
    """With one traceback in the queue, each line once added up the sizes of all waiting lines.

    That took 2 ms per line.
    """
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")

    def time_lines(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            service.log("info", "short")
        return time.perf_counter() - started

    time_lines(5_000)
    before = min(time_lines(500) for _ in range(5))
    for _ in range(50):
        service.log("error", "x" * 5_000)
    after = min(time_lines(500) for _ in range(5))
    assert after < 20 * before


def test_waiting_lines_are_bounded_in_bytes(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")
    for n in range(2_000):
        service.log("info", f"{n} " + "x" * 5_000)
        assert service.stats().lines.waiting_bytes <= 4_000_000
    counts = service.stats().lines
    assert counts.waiting_bytes > 3_500_000
    assert counts.offered == 2_000 == counts.overflowed + counts.waiting


def test_every_line_of_concurrent_threads_is_counted(
    make_service: MakeService, logs: LogView
) -> None:
    service = make_service()

    def work(name: str) -> None:
        for n in range(500):
            service.log("info", f"{name} {n}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: not service.stats().lines.waiting)
    assert len(logs.lines) + logs.dropped == 2_000 == service.stats().lines.offered
    for name in "abcd":
        numbers = [int(message[2:]) for message in logs.messages if message[0] == name]
        assert numbers == sorted(set(numbers))


def test_last_lines_are_published_before_the_graceful_stop(
    make_service: MakeService, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service()
    for n in range(1_200):
        service.log("info", f"line {n}")
    service.stop()
    rows: Any = raw.xrange(keys.feed)
    events = [(fields[b"kind"], json.loads(fields[b"data"])) for _, fields in rows]
    assert events[-1][0] == b"status"
    assert events[-1][1]["stopped"] is True
    last = [event for kind, event in events if kind == b"log"][-1]
    assert last["lines"][-1]["message"] == "line 1199"


def test_traceback_of_a_failing_process_is_published_at_exit(
    run_program: RunProgram, logs: LogView
) -> None:
    program = run_program(
        """
        import logging
        logging.getLogger().addHandler(service.start().log_handler())
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("that was it")
            raise SystemExit(1)
        """
    )
    assert program.wait(20) == 1
    (line,) = logs.lines
    assert (line["message"], line["logger"], line["level"]) == ("that was it", "root", "error")
    assert line["traceback"].endswith("ZeroDivisionError: division by zero")


def test_lines_logged_during_an_outage_are_published_once_after_it(
    own_valkey: EmbeddedValkey, make_service: MakeService, keys: Keys
) -> None:
    service = make_service(redis_url=own_valkey.address.url)
    service.log("info", "before")
    eventually(lambda: service.stats().lines.sent == 1)
    own_valkey.stop()
    for n in range(100):
        service.log("info", f"during {n}")
    assert service.stats().lines.waiting == 100
    with EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port) as again:
        eventually(lambda: service.stats().lines.sent == 101)
        with redis.Redis(port=again.address.port, protocol=2) as raw:
            assert LogView(raw, keys).messages == [
                "before",
                *(f"during {n}" for n in range(100)),
            ]
        service.stop()


def test_redis_that_refuses_lines_receives_status_and_heartbeats(
    make_service: MakeService, raw: redis.Redis, keys: Keys, redis_view: RedisView
) -> None:
    raw.set(keys.line_counts, "not a hash")
    service = make_service(heartbeat_s=0.1)
    service.log("info", "refused")
    eventually(lambda: service.stats().lines.overflowed == 1)
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})
    heartbeats = len(redis_view.heartbeats)
    eventually(lambda: len(redis_view.heartbeats) > heartbeats + 2)
    raw.delete(keys.line_counts)
    service.log("info", "taken")
    eventually(lambda: LogView(raw, keys).messages == ["taken"])
    assert LogView(raw, keys).dropped == 1


def test_log_records_of_pulseboard_itself_are_not_published(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")
    root = logging.getLogger()
    handler = service.log_handler()
    root.addHandler(handler)
    try:
        eventually(lambda: service.stats().failures > 2)  # the SDK logs each failure
        assert service.stats().lines.offered == 0
    finally:
        root.removeHandler(handler)


def test_value_that_logs_when_it_is_formatted_does_not_recurse(
    run_program: RunProgram, logs: LogView
) -> None:
    program = run_program(
        """
        import logging
        logging.basicConfig(level=logging.INFO, handlers=[service.start().log_handler()])
        class Chatty:
            def __str__(self):
                logging.info("being formatted")
                return "chatty"
        logging.info("value %s", Chatty())
        logging.info("next")
        """
    )
    assert program.wait(20) == 0
    assert logs.messages == ["value chatty", "next"]


def test_record_with_wrong_arguments_is_published_unformatted(
    run_program: RunProgram, logs: LogView
) -> None:
    program = run_program(
        """
        import logging
        logging.basicConfig(handlers=[service.start().log_handler()])
        logging.error("too few %s %s", "arguments")
        """
    )
    assert program.wait(20) == 0
    (message,) = logs.messages
    assert message.startswith("too few %s %s (its arguments do not fit")


def test_invalid_calls_of_log_do_not_raise(make_service: MakeService, logs: LogView) -> None:
    service = make_service()
    service.log("loud", "an unknown level")
    service.log(object(), object())  # type: ignore[arg-type]
    service.log("info", "no error is being handled", exc_info=True)
    service.log("info", "strange", value=object(), nested={"a": {1, 2}}, bad="\ud800")
    eventually(lambda: len(logs.lines) == 4)
    assert [line["level"] for line in logs.lines] == ["info"] * 4
    assert "unknown level" in logs.messages[0]
    assert service.stats().internal_errors == 0


def test_level_may_be_a_number_of_logging(make_service: MakeService, logs: LogView) -> None:
    service = make_service()
    for level in (logging.ERROR, logging.WARNING + 5, logging.DEBUG, 99):
        service.log(level, "x")
    eventually(lambda: len(logs.lines) == 4)
    assert [line["level"] for line in logs.lines] == ["error", "warning", "debug", "critical"]


def test_too_long_line_is_cut_with_a_note(make_service: MakeService, logs: LogView) -> None:
    service = make_service()
    service.log("info", "x" * 100_000)
    service.log("info", "fields", huge="y" * 100_000)
    service.log("info", "next")
    eventually(lambda: len(logs.lines) == 3)
    assert len(logs.lines[0]["message"]) < 8_100
    assert "92000 characters left out" in logs.lines[0]["message"]
    assert "omitted" in logs.lines[1]["fields"]["huge"]


def test_forked_child_logs_as_its_own_instance(run_program: RunProgram, logs: LogView) -> None:
    program = run_program(
        """
        import os
        service.start().log("info", "parent")
        if not (child := os.fork()):
            service.log("info", "child")
            service.update(n=1)
            service.stop()
            os._exit(0)
        os.waitpid(child, 0)
        service.stop()
        """
    )
    assert program.wait(20) == 0
    messages = {
        batch["instance"]: [line["message"] for line in batch["lines"]] for batch in logs.batches
    }
    assert sorted(messages.values()) == [["child"], ["parent"]]


@pytest.mark.parametrize(
    "text",
    ["password" * 50_000, "<password>" * 40_000, "://" * 100_000, "password='" + "\\'" * 200_000],
)
def test_repeated_beginnings_of_secrets_are_masked_in_linear_time(
    make_service: MakeService, logs: LogView, text: str
) -> None:
    service = make_service()
    service.log("info", text)
    service.log("info", "after it")
    eventually(lambda: [line["message"] for line in logs.lines][-1:] == ["after it"])


def test_line_that_cannot_be_encoded_or_formatted_affects_no_other(
    make_service: MakeService, logs: LogView
) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise ValueError("no text")

    logger = logging.getLogger("odd")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # pytest's handler could not write these lines either
    logger.addHandler(handler := make_service().log_handler())
    try:
        logger.info("read %s", "caf\udce9.txt")
        logger.info(Unprintable())
        logger.info("the last")
    finally:
        logger.removeHandler(handler)
    eventually(lambda: [line["message"] for line in logs.lines][-1:] == ["the last"])
    messages = [line["message"] for line in logs.lines]
    assert (messages[0], len(messages)) == ("read caf\\udce9.txt", 3)


def test_secrets_in_message_fields_and_traceback_are_masked(
    make_service: MakeService, logs: LogView
) -> None:
    service = make_service(mask=[r"card (\d{12})\d{4}", "INTERNAL"])
    try:
        raise ValueError("cannot open mysql://root:hunter2@db")
    except ValueError:
        service.log(
            "error",
            "INTERNAL card 1234567890123456",
            exc_info=True,
            password="hunter2",
            nested={"list": [{"access_token": "hunter2"}, "Bearer hunter2hunter2"]},
            url="amqp://u:hunter2@mq",
            user=7,
        )
    eventually(lambda: logs.lines)
    (line,) = logs.lines
    assert "hunter2" not in json.dumps(line)
    assert line["message"] == "*** card ***3456"
    assert line["fields"]["user"] == 7
    assert line["fields"]["nested"]["list"][0] == {"access_token": "***"}


@pytest.mark.parametrize("mask", [["("], [5]])
def test_invalid_mask_raises_config_error(mask: Any) -> None:
    with pytest.raises(ConfigError):
        Service("balance-sync", mask=mask)


def test_signal_handler_logs_while_a_line_is_logged(
    run_program: RunProgram, raw: redis.Redis, keys: Keys
) -> None:
    program: subprocess.Popen[str] = run_program(
        """
        import logging, signal
        logger = logging.getLogger("host")
        logger.addHandler(service.start().log_handler())
        logger.setLevel(logging.INFO)
        signal.signal(signal.SIGALRM, lambda *_: logger.info("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for n in range(20_000):
            logger.info("line %d", n)
        signal.setitimer(signal.ITIMER_REAL, 0)
        service.stop()
        counts = service.stats().lines
        assert counts.offered == counts.sent + counts.overflowed + counts.waiting, counts
        """
    )
    assert program.wait(30) == 0, program.communicate()
    assert os.environ is not None
    assert LogView(raw, keys).lines
