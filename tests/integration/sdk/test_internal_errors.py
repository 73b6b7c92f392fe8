"""The guard: bugs of ours stay ours, except under pytest; what the host's signal handlers raise stays the host's."""

import logging
import threading
from collections.abc import Callable

import pytest
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually

from pulseboard import Service
from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.outbox import Outbox


def break_offering(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_bug_of_ours_is_swallowed_counted_and_told_once(
    make_service: MakeService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    started: bool,
    call: Call,
) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    service = make_service(start=started)
    with monkeypatch.context() as patched:
        break_offering(patched)
        for _ in range(3):
            call(service)
    assert service.stats().internal_errors in (1, 3), "a service stops but once, even so"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a bug in pulseboard" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


def test_the_service_goes_on_after_a_bug(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, redis_view: RedisView
) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    service = make_service()
    with monkeypatch.context() as patched:
        break_offering(patched)
        service.update(n=1)
    service.update(m=2)
    eventually(lambda: redis_view.latest == {"n": 1, "m": 2})
    assert service.stats().internal_errors == 1


@every_call
def test_under_pytest_a_bug_of_ours_is_raised(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, started: bool, call: Call
) -> None:
    service = make_service(start=started)
    with monkeypatch.context() as patched:
        break_offering(patched)
        with pytest.raises(ZeroDivisionError):
            call(service)
    assert service.stats().internal_errors == 1


def test_a_stop_that_fails_to_say_goodbye_ends_the_beats_all_the_same(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service("goes-silently")
    with monkeypatch.context() as patched:
        break_offering(patched)
        with pytest.raises(ZeroDivisionError):
            service.stop()
    eventually(
        lambda: (
            "pulseboard-sender-goes-silently"
            not in {thread.name for thread in threading.enumerate()}
        )
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_an_exit_is_no_error(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.delenv("PYTEST_VERSION")
    guard = InternalErrors("balance-sync")
    with pytest.raises(type(error)), guard:
        raise error
    assert guard.count == 0


def test_a_bug_in_the_thread_that_sends_does_not_end_it(
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


def test_a_log_handler_that_raises_breaks_neither_the_host_nor_the_thread(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, redis_view: RedisView
) -> None:
    class Evil(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a handler of the host's")

    monkeypatch.delenv("PYTEST_VERSION")
    evil = Evil()
    logger = logging.getLogger("pulseboard.service")
    logger.addHandler(evil)
    try:
        service = make_service()
        service.update(bad=[[[]]] * 3, worse=10**5_000)
        service.replace(7)  # type: ignore[arg-type]
        service.update(n=1)
        eventually(lambda: redis_view.latest.get("n") == 1)
    finally:
        logger.removeHandler(evil)


def test_what_a_signal_handler_raises_in_the_middle_of_a_call_reaches_the_host(
    run_program: RunProgram,
) -> None:
    """As Celery raises its soft time limit. A task ran on past it, and was killed by the hard one.

    In a program of its own: beside other tests, a signal may fall into somebody's callback, out of which nothing can be raised.
    """
    host = run_program(
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
    output, errors = host.communicate(timeout=60)
    assert (output, errors) == ("0 0\n", "")


def test_the_variable_that_pytest_sets_is_what_counts(run_program: RunProgram) -> None:
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
