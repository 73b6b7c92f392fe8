"""Signal handlers of the host's own that stop a service, wherever they find it: the goodbye arrives, and is its last word."""

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually

from pulseboard import Service


def interrupted(call: Callable[[], object], step: int, interruption: Callable[[], object]) -> bool:
    """Do `call`, and `interruption` before its step of that number, as a signal handler would; False when it has no such step.

    A step is one instruction of our own code: between two of them is every place where Python runs a handler.
    """
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if "pulseboard/sdk" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                interruption()
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = (
        True  # Python 3.12 looks whether any frame wants them at settrace() alone
    )
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return left <= 0


def test_an_update_at_any_step_of_an_update_costs_neither(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """A SIGTERM handler's 'stopping' went out first, and the older status after it stayed on the board."""
    service = make_service()
    step = 0
    reached = True
    while reached:
        step += 1
        service.replace({"step": step})
        reached = interrupted(
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
async def test_a_stop_at_any_step_of_a_call_gets_its_goodbye_out(
    make_service: MakeService, redis_view: RedisView, call: Callable[[Service], object]
) -> None:
    service = make_service(start=False)
    step = slowest = 0.0
    goodbyes: list[list[dict[str, Any]]] = []

    def stop() -> None:
        nonlocal slowest
        started = time.monotonic()
        service.stop()
        slowest = max(slowest, time.monotonic() - started)
        goodbyes.append(said())

    def said() -> list[dict[str, Any]]:
        return [event for event in redis_view.events if event.get("stopped")]

    reached = True
    while reached:
        step += 1
        service.start()
        reached = interrupted(lambda: call(service), int(step), stop)
        service.stop()
        assert len(said()) == step, "one goodbye a run"
        assert redis_view.events[-1]["stopped"] is True, "and it is the last word"
        if reached:
            assert len(goodbyes[-1]) == step, "it was out before the handler returned"
    assert step > 20
    assert slowest < 1.5


@pytest.mark.parametrize("others", [0, 2], ids=["alone", "beside threads that update"])
def test_a_handler_that_stops_in_the_middle_of_an_update_gets_its_goodbye_out(
    run_program: RunProgram, others: int
) -> None:
    """The handler waited for the courier, and the courier for a lock of the update that the handler stood in."""
    host = run_program(
        f"""
        import os, random, signal, threading, time
        import redis
        from pulseboard.bus.keys import Keys

        board = Keys(os.environ["PULSEBOARD_NAMESPACE"]).board
        raw = redis.Redis.from_url(os.environ["REDIS_URL"])
        field = f"balance-sync/{{service.instance}}"
        running, slow, lost = False, 0, 0

        def says_goodbye():
            return b'"stopped":true' in raw.hget(board, field)

        def own(*_):
            global running, slow
            started = time.monotonic()
            service.stop()
            slow += time.monotonic() - started > 1.5
            running = False

        def work(name):
            while True:
                service.update(**{{name: time.monotonic()}})
                time.sleep(0)

        for n in range({others}):
            threading.Thread(target=work, args=(f"other-{{n}}",), daemon=True).start()
        signal.signal(signal.SIGALRM, own)
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
            lost += not says_goodbye()
        print(lost, slow)
        os._exit(0)
        """
    )
    output, errors = host.communicate(timeout=110)
    assert (output, errors) == ("0 0\n", "")
