"""Signal handlers of the host application that stop a service at any point of a call.

The graceful stop arrives in Redis and is the last event.
"""

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually

from pulseboard import Service


def run_interrupted(
    call: Callable[[], object], step: int, interruption: Callable[[], object]
) -> bool:
    """Call `call`, and `interruption` before step number `step`, as a signal handler would run.

    A step is one instruction of the SDK: Python runs signal handlers only between two instructions.
    Return False if the call has no such step.
    """
    remaining = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal remaining
        if "pulseboard/sdk" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            remaining -= 1
            if remaining == 0:
                interruption()
        return trace

    before = sys.gettrace()
    # Python 3.12 checks only in settrace() whether any frame traces opcodes.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return remaining <= 0


def test_update_inside_another_update_loses_neither(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """The board showed an old status at the end.

    The update of a SIGTERM handler was published first, and the interrupted update after it.
    """
    service = make_service()
    step = 0
    reached = True
    while reached:
        step += 1
        service.replace({"step": step})
        reached = run_interrupted(
            lambda: service.update(n=1), step, lambda: service.update(stopping=True)
        )
        eventually(lambda: not service.stats().waiting)
    latest = {status["step"]: status for status in redis_view.statuses if status}
    assert step > 50
    assert [*latest.values()][:-1] == [
        {"step": n, "n": 1, "stopping": True} for n in range(1, step)
    ]


CALLS: dict[str, Callable[[Service], object]] = {
    "update": lambda service: service.update(n=1),
    "replace": lambda service: service.replace({"n": 1}),
    "stats": lambda service: service.stats(),
    "stop": lambda service: service.stop(),
    "watch_loop": lambda service: service.watch_loop(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_stop_at_any_step_of_a_call_publishes_the_graceful_stop(
    make_service: MakeService, redis_view: RedisView, call: Callable[[Service], object]
) -> None:
    service = make_service(start=False)
    step = slowest = 0.0
    stops_in_handler: list[list[dict[str, Any]]] = []

    def stop() -> None:
        nonlocal slowest
        started = time.monotonic()
        service.stop()
        slowest = max(slowest, time.monotonic() - started)
        stops_in_handler.append(graceful_stops())

    def graceful_stops() -> list[dict[str, Any]]:
        return [event for event in redis_view.events if event.get("stopped")]

    reached = True
    while reached:
        step += 1
        service.start()
        reached = run_interrupted(lambda: call(service), int(step), stop)
        service.stop()
        assert len(graceful_stops()) == step, "each run has one graceful stop"
        assert redis_view.events[-1]["stopped"] is True, "the graceful stop is the last event"
        if reached:
            assert len(stops_in_handler[-1]) == step, (
                "the stop was published before the handler returned"
            )
    assert step > 20
    assert slowest < 1.5


@pytest.mark.parametrize("updating_threads", [0, 2], ids=["alone", "with threads that update"])
def test_handler_that_stops_during_an_update_publishes_the_graceful_stop(
    run_program: RunProgram, updating_threads: int
) -> None:
    """Handler and sender deadlocked.

    The handler waited for the sender, which waited for a lock of the interrupted update.
    """
    process = run_program(
        f"""
        import os, random, signal, threading, time
        import redis
        from pulseboard.bus.keys import Keys

        board = Keys(os.environ["PULSEBOARD_NAMESPACE"]).board
        raw = redis.Redis.from_url(os.environ["REDIS_URL"])
        field = f"balance-sync/{{service.instance}}"
        running, slow, lost = False, 0, 0

        def is_stopped_on_board():
            return b'"stopped":true' in raw.hget(board, field)

        def stop_service(*_):
            global running, slow
            started = time.monotonic()
            service.stop()
            slow += time.monotonic() - started > 1.5
            running = False

        def work(name):
            while True:
                service.update(**{{name: time.monotonic()}})
                time.sleep(0)

        for n in range({updating_threads}):
            threading.Thread(target=work, args=(f"other-{{n}}",), daemon=True).start()
        signal.signal(signal.SIGALRM, stop_service)
        n = 0
        rounds = 150
        for _ in range(rounds):
            service.start()
            running = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.01))
            while running:
                n += 1
                if n % 2:
                    service.update(n=n)
                else:
                    service.replace({{"n": n}})
                service.stats()
            lost += not is_stopped_on_board()
        print(lost, slow)
        os._exit(0)
        """
    )
    output, errors = process.communicate(timeout=110)
    assert (output, errors) == ("0 0\n", "")
