"""Internal errors: bugs of the SDK are counted and logged, and raised only under pytest.

Exceptions of the host application's signal handlers reach the host application.
"""

import logging
import threading
from collections.abc import Callable

import pytest
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually

from pulseboard import Service
from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.outbox import Outbox


def break_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Outbox, "put_current", broken)
    monkeypatch.setattr(Outbox, "put_last", broken)


every_call = pytest.mark.parametrize(
    ("started", "call"),
    [
        pytest.param(False, lambda service: service.start(), id="start"),
        pytest.param(True, lambda service: service.update(n=1), id="update"),
        pytest.param(True, lambda service: service.replace({"n": 1}), id="replace"),
        pytest.param(True, lambda service: service.stop(), id="stop"),
    ],
)
Call = Callable[[Service], object]


@every_call
def test_bug_is_suppressed_counted_and_logged_once(
    make_service: MakeService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    started: bool,
    call: Call,
) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    service = make_service(start=started)
    with monkeypatch.context() as patched:
        break_outbox(patched)
        for _ in range(3):
            call(service)
    assert service.stats().internal_errors in (1, 3), (
        "a service stops only once, even if the stop fails"
    )
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a bug in pulseboard" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


def test_service_continues_after_a_bug(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, redis_view: RedisView
) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    service = make_service()
    with monkeypatch.context() as patched:
        break_outbox(patched)
        service.update(n=1)
    service.update(m=2)
    eventually(lambda: redis_view.latest == {"n": 1, "m": 2})
    assert service.stats().internal_errors == 1


@every_call
def test_bug_is_raised_under_pytest(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, started: bool, call: Call
) -> None:
    service = make_service(start=started)
    with monkeypatch.context() as patched:
        break_outbox(patched)
        with pytest.raises(ZeroDivisionError):
            call(service)
    assert service.stats().internal_errors == 1


def test_stop_ends_the_heartbeats_even_if_its_last_status_fails(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service("ends-silently")
    with monkeypatch.context() as patched:
        break_outbox(patched)
        with pytest.raises(ZeroDivisionError):
            service.stop()
    eventually(
        lambda: (
            "pulseboard-sender-ends-silently"
            not in {thread.name for thread in threading.enumerate()}
        )
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_exit_exceptions_are_not_counted_as_errors(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    internal_errors = InternalErrors("balance-sync")
    with pytest.raises(type(error)), internal_errors:
        raise error
    assert internal_errors.count == 0


def test_bug_in_the_sender_thread_does_not_end_it(
    make_service: MakeService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    redis_view: RedisView,
) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    service = make_service(start=False)
    with monkeypatch.context() as patched:
        patched.setattr("pulseboard.bus.publisher.Publisher.publish", lambda *_: 1 / 0)
        service.start()
        eventually(lambda: service.stats().internal_errors >= 2)
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_log_handler_that_raises_breaks_neither_caller_nor_sender(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, redis_view: RedisView
) -> None:
    class RaisingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a handler of the host application")

    monkeypatch.delenv("PYTEST_VERSION")
    handler = RaisingHandler()
    logger = logging.getLogger("pulseboard.service")
    logger.addHandler(handler)
    try:
        service = make_service()
        service.update(bad=[[[]]] * 3, worse=10**5_000)
        service.replace(7)  # type: ignore[arg-type]
        service.update(n=1)
        eventually(lambda: redis_view.latest.get("n") == 1)
    finally:
        logger.removeHandler(handler)


def test_exception_of_a_signal_handler_during_a_call_reaches_the_caller(
    run_program: RunProgram,
) -> None:
    """A signal handler raises during a call, as Celery does for its soft time limit.

    When the SDK suppressed it, a task ran past that limit and was killed by the hard one.
    The test runs its own program: beside other tests, a signal may interrupt a callback of
    another library, and no exception can leave such a callback.
    """
    program = run_program(
        """
        import gc, os, signal

        os.environ.pop("PYTEST_VERSION", None)

        class SoftTimeLimit(Exception):
            pass

        class SlowText:
            def __str__(self):
                return "".join(str(n) for n in range(50))

        def handler(*_):
            global raised
            raised += 1
            raise SoftTimeLimit

        values = [
            1,
            SlowText(),
            {"\\ud800": 1, SlowText(): 2},
            {"nested": SlowText()},
            "\\ud800",
            [SlowText(), "\\ud800"],
        ]
        raised = caught = 0
        service.start()
        gc.disable()
        signal.signal(signal.SIGALRM, handler)
        while raised < 200:
            so_far = raised
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                while raised == so_far:
                    for value in values:
                        service.update(value=value)
            except SoftTimeLimit:
                caught += 1
        print(raised - caught, service.stats().internal_errors)
        """
    )
    output, errors = program.communicate(timeout=60)
    assert (output, errors) == ("0 0\n", "")


def test_variable_set_by_pytest_decides_whether_bugs_are_raised(run_program: RunProgram) -> None:
    program = """
        import os
        os.environ.pop("PYTEST_VERSION", None)
        from pulseboard.sdk.outbox import Outbox
        Outbox.put_current = None
        service.start()
        service.update(n=1)
        print(service.stats().internal_errors)
        os.environ["PYTEST_VERSION"] = "9"
        service.update(n=2)
    """
    output, errors = run_program(program).communicate(timeout=20)
    assert int(output) >= 1
    assert "TypeError: 'NoneType' object is not callable" in errors
