"""Log lines: from `logging` and from `Service.log` to feed, history and channel; masked, bounded, counted."""

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
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually
from tests.support.valkey import free_port

from pulseboard import Service
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.sdk.scrubber import Scrubber
from pulseboard.wire.errors import ConfigError


class LogSight:
    """What is to be seen of the lines of `balance-sync`."""

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
def logs(raw: redis.Redis, keys: Keys) -> LogSight:
    return LogSight(raw, keys)


Attach = Callable[..., logging.Logger]


@pytest.fixture
def attach() -> Iterator[Attach]:
    """Give a logger of the test's own the handler of a service."""
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


def test_what_the_host_logs_is_in_history_in_order_with_all_it_said(
    make_service: MakeService, logs: LogSight, attach: Attach
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
    assert "in test_what_the_host_logs_is_in_history" in third["traceback"]
    assert fourth["level"] == "warning"


def test_a_line_is_published_in_the_seeds_shape(
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


def test_a_flood_costs_the_oldest_and_says_how_many(
    make_service: MakeService, logs: LogSight
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


def test_long_lines_that_wait_cost_the_lines_after_them_nothing(make_service: MakeService) -> None:
    """With one traceback among those that waited, every line summed up all of them: 2 ms a line."""
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")

    def log_many(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            service.log("info", "short")
        return time.perf_counter() - started

    log_many(5_000)
    before = min(log_many(500) for _ in range(5))
    for _ in range(50):
        service.log("error", "x" * 5_000)
    after = min(log_many(500) for _ in range(5))
    assert after < 20 * before


def test_what_waits_is_bounded_in_bytes(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")
    for n in range(2_000):
        service.log("info", f"{n} " + "x" * 5_000)
        assert service.stats().lines.waiting_bytes <= 4_000_000
    counts = service.stats().lines
    assert counts.waiting_bytes > 3_500_000
    assert counts.offered == 2_000 == counts.overflowed + counts.waiting


def test_many_threads_log_at_once_and_every_line_is_counted(
    make_service: MakeService, logs: LogSight
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


def test_what_was_logged_last_is_there_before_the_goodbye(
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


def test_a_process_that_ends_with_an_error_has_told_why(
    run_program: RunProgram, logs: LogSight
) -> None:
    host = run_program(
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
    assert host.wait(20) == 1
    (line,) = logs.lines
    assert (line["message"], line["logger"], line["level"]) == ("that was it", "root", "error")
    assert line["traceback"].endswith("ZeroDivisionError: division by zero")


def test_lines_of_an_outage_come_after_it_each_once(
    own_valkey: EmbeddedValkey, make_service: MakeService, keys: Keys
) -> None:
    service = make_service(redis_url=own_valkey.address.url)
    service.log("info", "before")
    eventually(lambda: service.stats().lines.sent == 1)
    own_valkey.stop()
    for n in range(100):
        service.log("info", f"meanwhile {n}")
    assert service.stats().lines.waiting == 100
    with EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port) as again:
        eventually(lambda: service.stats().lines.sent == 101)
        with redis.Redis(port=again.address.port, protocol=2) as raw:
            assert LogSight(raw, keys).messages == [
                "before",
                *(f"meanwhile {n}" for n in range(100)),
            ]
        service.stop()


def test_a_redis_that_takes_no_lines_still_gets_status_and_beats(
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
    eventually(lambda: LogSight(raw, keys).messages == ["taken"])
    assert LogSight(raw, keys).dropped == 1


def test_what_pulseboard_logs_itself_does_not_come_back_to_it(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")
    root = logging.getLogger()
    handler = service.log_handler()
    root.addHandler(handler)
    try:
        eventually(lambda: service.stats().failures > 2)  # each of which is logged by us
        assert service.stats().lines.offered == 0
    finally:
        root.removeHandler(handler)


def test_a_value_that_logs_when_it_is_shown_does_not_recurse(
    run_program: RunProgram, logs: LogSight
) -> None:
    host = run_program(
        """
        import logging
        logging.basicConfig(level=logging.INFO, handlers=[service.start().log_handler()])
        class Chatty:
            def __str__(self):
                logging.info("being shown")
                return "chatty"
        logging.info("value %s", Chatty())
        logging.info("next")
        """
    )
    assert host.wait(20) == 0
    assert logs.messages == ["value chatty", "next"]


def test_a_record_whose_arguments_do_not_fit_is_shown_as_it_is(
    run_program: RunProgram, logs: LogSight
) -> None:
    host = run_program(
        """
        import logging
        logging.basicConfig(handlers=[service.start().log_handler()])
        logging.error("too few %s %s", "arguments")
        """
    )
    assert host.wait(20) == 0
    (message,) = logs.messages
    assert message.startswith("too few %s %s (its arguments do not fit")


def test_no_wrong_call_raises(make_service: MakeService, logs: LogSight) -> None:
    service = make_service()
    service.log("loud", "an unknown level")
    service.log(object(), object())  # type: ignore[arg-type]
    service.log("info", "no error is being handled", exc_info=True)
    service.log("info", "strange", value=object(), nested={"a": {1, 2}}, bad="\ud800")
    eventually(lambda: len(logs.lines) == 4)
    assert [line["level"] for line in logs.lines] == ["info"] * 4
    assert "unknown level" in logs.messages[0]
    assert service.stats().internal_errors == 0


def test_a_level_may_be_a_number_of_logging(make_service: MakeService, logs: LogSight) -> None:
    service = make_service()
    for level in (logging.ERROR, logging.WARNING + 5, logging.DEBUG, 99):
        service.log(level, "x")
    eventually(lambda: len(logs.lines) == 4)
    assert [line["level"] for line in logs.lines] == ["error", "warning", "debug", "critical"]


def test_a_line_that_is_too_long_is_cut_and_says_so(
    make_service: MakeService, logs: LogSight
) -> None:
    service = make_service()
    service.log("info", "x" * 100_000)
    service.log("info", "fields", huge="y" * 100_000)
    service.log("info", "next")
    eventually(lambda: len(logs.lines) == 3)
    assert len(logs.lines[0]["message"]) < 8_100
    assert "92000 characters left out" in logs.lines[0]["message"]
    assert "omitted" in logs.lines[1]["fields"]["huge"]


def test_a_forked_child_logs_as_an_instance_of_its_own(
    run_program: RunProgram, logs: LogSight
) -> None:
    host = run_program(
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
    assert host.wait(20) == 0
    said = {
        batch["instance"]: [line["message"] for line in batch["lines"]] for batch in logs.batches
    }
    assert sorted(said.values()) == [["child"], ["parent"]]


SECRETS = [
    ("postgres://app:hunter2@db/x", "postgres://app:***@db/x"),
    ("Authorization: Bearer eyJhbGciOi.J9.x_y-z", "Authorization: Bearer ***"),
    ("password=hunter2 user=7", "password=*** user=7"),
    ("API_KEY: 'abc def', next", "API_KEY: ***, next"),
    ('{"client_secret": "abc\\"d", "n": 1}', '{"client_secret": ***, "n": 1}'),
    ("Set-Cookie: sid=abc; path=/", "Set-Cookie: ***"),
    ("{'Cookie': 'a=1; session=X', 'n': 1}", "{'Cookie': '***', 'n': 1}"),
    ("password=b'X1y2' n=1", "password=*** n=1"),
    ("<password>hunter2</password>", "<password>***</password>"),
    ("pass=abc auth: x", "pass=*** auth: ***"),
    ("passing=5 author=me authentication ok", "passing=5 author=me authentication ok"),
    ("tokens=['abc', 'def'], n=1", "tokens=***, n=1"),
    ("the token bucket is full", "the token bucket is full"),
    ("PASSPHRASE='a b'", "PASSPHRASE=***"),
    ("private-key=abc Session_Id=x1", "private-key=*** Session_Id=***"),
    ("db_pwd: x; Credentials=y", "db_pwd: ***; Credentials=***"),
    ("café pa\u017f\u017fword=hunter2", "café pa\u017f\u017fword=***"),
    ("https://host/path@2x.png", "https://host/path@2x.png"),
    ("12:30 mail a@b", "12:30 mail a@b"),
    ("DB_PASS=hunter2 n=1", "DB_PASS=*** n=1"),
    (
        "SMTP_PASS=1234, db_pass: x dbpass=x dbPass=x",
        "SMTP_PASS=***, db_pass: *** dbpass=*** dbPass=***",
    ),
    ("pw=x pw: y db_pw=z jwt=j", "pw=*** pw: *** db_pw=*** jwt=***"),
    ("password => x, password=123456", "password => ***, password=***"),
    ("api key: x", "api key: ***"),
    ("auth: Bearer abc", "auth: ***"),
    *(
        (f"got {token} twice", "got *** twice")
        for token in (
            "AKIA" + "A2B3" * 4,
            "ASIA" + "A2B3" * 4,
            *(f"gh{kind}_" + "a1B2" * 9 for kind in "opsur"),
            "ghs_12_eyJhbGciOiJ9.eyJpc3MiOiIxIn0.abc-def_ghi",
            "github_pat_" + "a1" * 11 + "_" + "a1B2" * 15,
            "glpat-" + "a1B_" * 5,
            "glpat-" + "a1B_" * 7 + ".01.a1b2c3d4e",
            *(f"xox{kind}-1234567890-a1B2" for kind in "abprs"),
            "sk_live_" + "a1B2" * 6,
            "rk_live_" + "a1B2" * 6,
            "AIza" + "a1B_-" * 7,
            "npm_" + "a1B2" * 9,
            "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 9,
            "sk-" + "a1B2" * 12,
            "sk-proj-" + "a1_B" * 12,
            "sk-ant-api03-" + "a1-B" * 12,
        )
    ),
    *(
        (
            f"read -----BEGIN {kind}-----\n{body}\n-----END {kind}-----\nand went on",
            "read ***\nand went on",
        )
        for kind, body in (
            ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB12\n\nabcd"),
            ("PGP PRIVATE KEY BLOCK", "Version: a-b\n\nabcd\n=ab12"),
            ("PRIVATE KEY", "abcd\n" * 3_000),
        )
    ),
    ("AAAA\nBBBB\n-----END PRIVATE KEY-----\nand went on", "***\nand went on"),
    ("https://TOKEN@github.com/a", "https://***@github.com/a"),
    ("postgres://app:a/b@db/x", "postgres://app:***@db/x"),
    ("redis://:p@ss/w0rd@host", "redis://:***@host"),
    ("AccountName=a;AccountKey=b/c==;E=x", "AccountName=a;AccountKey=***;E=x"),
    ("SharedAccessKeyName=root;SharedAccessKey=b=", "SharedAccessKeyName=root;SharedAccessKey=***"),
    ("https://h/b?sv=1&sig=a%3D&se=1", "https://h/b?sv=1&sig=***&se=1"),
    (
        "?X-Amz-Credential=A%2Fb&X-Amz-Signature=ab12&x=1",
        "?X-Amz-Credential=***&X-Amz-Signature=***&x=1",
    ),
    ("GET /maps?key=abc&x=1", "GET /maps?key=***&x=1"),
    (
        "Authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=ab12",
        "Authorization: AWS4-HMAC-SHA256 ***",
    ),
    (
        'Authorization: Digest username="u", response="ab12", opaque="x"\nnext',
        "Authorization: Digest ***\nnext",
    ),
    (
        "{'Authorization': 'Digest username=\"u\", response=\"x\"', 'n': 1}",
        "{'Authorization': 'Digest ***', 'n': 1}",
    ),
    (
        "[(b'host', b'h'), (b'authorization', b'Bearer abc')]",
        "[(b'host', b'h'), (b'authorization', ***)]",
    ),
    ("['run', '--password', 'x', '-v']", "['run', '--password', ***, '-v']"),
    ("run --password 'a b' -v", "run --password *** -v"),
    (
        '{"a": "{\\"b\\": \\"{\\\\\\"password\\\\\\": \\\\\\"x y\\\\\\"}\\"}"}',
        '{"a": "{\\"b\\": \\"{\\\\\\"password\\\\\\": ***}\\"}"}',
    ),
    ('{\\"password\\": \\"a\\\\\\"b\\", \\"n\\": 1}', '{\\"password\\": ***, \\"n\\": 1}'),
    ("{'password': {'value': 'x'}, 'n': 1}", "{'password': ***, 'n': 1}"),
    ("{'credentials': {'a': {'b': [1]}, 'c': '}x'}, 'n': 1}", "{'credentials': ***, 'n': 1}"),
    ("ALTER USER a PASSWORD 'it''s' VALID", "ALTER USER a PASSWORD *** VALID"),
    ("CREATE USER a IDENTIFIED BY 'x'", "CREATE USER a IDENTIFIED BY ***"),
    ('password="' + "a" * 5_000 + '" n=1', "password=*** n=1"),
]
NO_SECRETS = [
    "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
    "psycopg.errors.InvalidPassword: FATAL: it does not fit",
    "    token = get_token(user)",
    "    def login(self, user: str, password: str) -> None:",
    "cannot open /etc/passwd: permission denied",
    "std::auth::Token::new failed",
    "max_tokens: 4096, prompt_tokens=12, total_tokens: 1234567, tokens=7",
    "{'prompt_tokens': 12, 'completion_tokens_details': {'cached_tokens': 0}}",
    "--max-tokens 4096 --token-type bearer",
    "token_type: x, token_type=Bearer, token_count=123456, token_expires_in=3600",
    "tokenizer: gpt2",
    "after basic training the bearer of news found Basic Authentication off",
    "pass: 3, fail: 0",
    "session_id=7 session_id: 7",
    "secretary: Ann",
    "is_password_set=True password: None",
    "passwordless: enabled",
    "bypass=cache sig=SIGTERM signal: 9 monkey=1",
    "https://host:8080/path@2x.png ssh://git@host/x",
    "disk-usage-of-node-17-is-high in asia-southeast1",
]
PIECES = st.sampled_from([
    *(piece for text, _ in SECRETS if len(text) < 200 for piece in re.findall(r"\w+|\s+|[^\w\s]+", text)),
    *"\\'\"[]{}(),;:=&<>/@ \n*",
    "***",
])  # fmt: skip


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_only_sounds_like_a_secret_is_told(text: str) -> None:
    assert Scrubber().mask_text(text) == text


@given(st.lists(PIECES, max_size=24).map("".join))
@example("password=\"a\"b 'c'")
@example("['--password', 'x']")
def test_masking_what_is_masked_changes_nothing(text: str) -> None:
    masked = Scrubber().mask_text(text)
    assert Scrubber().mask_text(masked) == masked


@pytest.mark.parametrize(
    ("fields", "masked"),
    [
        (
            {"db_pass": "x", "pw": "x", "dbPass": "x"},
            {"db_pass": "***", "pw": "***", "dbPass": "***"},
        ),
        ({"password": 123456, "n": 1}, {"password": "***", "n": 1}),
        (
            {"X-Amz-Signature": "x", "AccountKey": "x"},
            {"X-Amz-Signature": "***", "AccountKey": "***"},
        ),
        (
            {"headers": [["authorization", "x"], ["host", "h"]]},
            {"headers": [["authorization", "***"], ["host", "h"]]},
        ),
        ({"argv": ["run", "--password", "x", "-v"]}, {"argv": ["run", "--password", "***", "-v"]}),
        ({"max_tokens": 4096, "token_type": "x"}, {"max_tokens": 4096, "token_type": "x"}),
        (
            {"session_id": 7, "tokens": {"in": 700_000}},
            {"session_id": 7, "tokens": {"in": 700_000}},
        ),
        (
            {"is_password_set": True, "secretary": "Ann"},
            {"is_password_set": True, "secretary": "Ann"},
        ),
    ],
)
def test_fields_are_masked_by_name_and_value(
    fields: dict[str, Any], masked: dict[str, Any]
) -> None:
    assert json.loads(Scrubber().mask_fields(json.dumps(fields).encode())) == masked


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("redis://:p@ss/w0rd@host", "p@ss"),
        ("Authorization: Token abcdef", "abcdef"),
        ('{"said": "{\\"password\\": \\"hunter2\\"}"}', "hunter2"),
        ('password="abc without an end', "abc"),
    ],
)
def test_a_secret_is_not_told(text: str, secret: str) -> None:
    assert secret not in Scrubber().mask_text(text)


@pytest.mark.parametrize(
    "text",
    ["password" * 50_000, "<password>" * 40_000, "://" * 100_000, "password='" + "\\'" * 200_000],
)
def test_what_nearly_is_a_secret_many_times_over_holds_nobody_up(
    make_service: MakeService, logs: LogSight, text: str
) -> None:
    service = make_service()
    service.log("info", text)
    service.log("info", "after it")
    eventually(lambda: [line["message"] for line in logs.lines][-1:] == ["after it"])


def test_a_line_that_is_no_utf8_or_no_text_costs_no_other(
    make_service: MakeService, logs: LogSight
) -> None:
    class Mute:
        def __str__(self) -> str:
            raise ValueError("no words")

    logger = logging.getLogger("odd")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # or pytest would take what it cannot write either
    logger.addHandler(handler := make_service().log_handler())
    try:
        logger.info("read %s", "caf\udce9.txt")
        logger.info(Mute())
        logger.info("the last")
    finally:
        logger.removeHandler(handler)
    eventually(lambda: [line["message"] for line in logs.lines][-1:] == ["the last"])
    said = [line["message"] for line in logs.lines]
    assert (said[0], len(said)) == ("read caf\\udce9.txt", 3)


@pytest.mark.parametrize(("text", "masked"), SECRETS)
def test_secrets_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert Scrubber().mask_text(text) == masked


def test_no_secret_leaves_the_process_in_message_fields_or_traceback(
    make_service: MakeService, logs: LogSight
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
def test_a_mask_that_is_no_regular_expression_is_refused_at_once(mask: Any) -> None:
    with pytest.raises(ConfigError):
        Service("balance-sync", mask=mask)


def test_a_signal_handler_may_log_in_the_middle_of_a_line(
    run_program: RunProgram, raw: redis.Redis, keys: Keys
) -> None:
    host: subprocess.Popen[str] = run_program(
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
    assert host.wait(30) == 0, host.communicate()
    assert os.environ is not None
    assert LogSight(raw, keys).lines
