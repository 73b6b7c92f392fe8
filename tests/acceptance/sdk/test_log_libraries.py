"""structlog and loguru send lines through the log handler; their fields arrive as fields."""

import json
from typing import Any

import pytest
import redis
from tests.support.sdk import RunProgram

from pulseboard.bus.keys import Keys

STRUCTLOG = """
import logging, structlog
logging.basicConfig(level=logging.DEBUG, handlers=[service.start().log_handler()])
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, %s],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
log = structlog.get_logger("shop").bind(user=7)
"""
LOGURU = """
from loguru import logger
handler = service.start().log_handler()
logger.configure(handlers=[{"sink": handler, "format": lambda _: "{message}", "level": "TRACE"}])
log = logger.bind(user=7)
"""
LOG_CALLS = """
log.debug("started")
log.warning("slow", took_s=1.5, tags=["a", "b"])
try:
    int("row")
except ValueError:
    log.exception("no such row")
log.critical("password=hunter2", token="hunter2")
service.stop()
"""
CONFIGURATIONS = {
    "structlog": STRUCTLOG % "structlog.stdlib.render_to_log_kwargs",
    "structlog-with-args": STRUCTLOG % "structlog.stdlib.render_to_log_args_and_kwargs",
    "structlog-for-its-formatter": STRUCTLOG
    % (
        "structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt='iso'), "
        "structlog.stdlib.ProcessorFormatter.wrap_for_formatter"
    ),
    "structlog-with-exceptions-formatted": STRUCTLOG
    % (
        "structlog.processors.format_exc_info, "
        "structlog.stdlib.ProcessorFormatter.wrap_for_formatter"
    ),
    "loguru": LOGURU,
}


@pytest.mark.parametrize("library", CONFIGURATIONS)
def test_fields_levels_and_tracebacks_arrive_separately(
    run_program: RunProgram, raw: redis.Redis, keys: Keys, library: str
) -> None:
    process = run_program(CONFIGURATIONS[library] + LOG_CALLS)
    assert process.wait(30) == 0, process.communicate()
    rows: Any = raw.xrange(keys.history("balance-sync", "log"))
    lines = [line for _, row in rows for line in json.loads(row[b"data"])["lines"]]
    assert [line["level"] for line in lines] == ["debug", "warning", "error", "critical"]
    assert lines[0]["message"] == "started"
    assert lines[0]["fields"] == {"user": 7}
    assert lines[1]["fields"] == {"user": 7, "took_s": 1.5, "tags": ["a", "b"]}
    assert lines[2]["message"] == "no such row"
    assert lines[2]["traceback"].startswith("Traceback (most recent call last)")
    assert (
        lines[2]["traceback"]
        .strip()
        .endswith("ValueError: invalid literal for int() with base 10: 'row'")
    )
    assert lines[2]["fields"] == {"user": 7}
    assert "hunter2" not in json.dumps(lines[3])
    assert lines[3]["fields"]["token"] == "***"
    assert {line["logger"] for line in lines} == {"shop" if "structlog" in library else "__main__"}


def test_exception_passed_to_structlog_as_exc_info_is_sent(
    run_program: RunProgram, raw: redis.Redis, keys: Keys
) -> None:
    process = run_program(
        CONFIGURATIONS["structlog-for-its-formatter"]
        + """
error = ValueError("kept for later")
log.error("it failed", exc_info=error)
log.error("nothing was raised", exc_info=True)
service.stop()
"""
    )
    assert process.wait(30) == 0, process.communicate()
    rows: Any = raw.xrange(keys.history("balance-sync", "log"))
    first, second = [line for _, row in rows for line in json.loads(row[b"data"])["lines"]]
    assert first["traceback"] == "ValueError: kept for later"
    assert "traceback" not in second
