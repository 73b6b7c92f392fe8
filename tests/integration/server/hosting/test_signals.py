"""A stop signal is heard by us and by whoever would have heard it without us."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
import uvloop

from pulseboard.server.hosting.signals import call_on_stop


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return factory


def test_a_loops_own_handler_is_called_too(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def host() -> None:
        loop = asyncio.get_running_loop()
        theirs, ours = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, theirs.set)
        try:
            with call_on_stop(ours.set):
                os.kill(os.getpid(), signal.SIGTERM)
                async with asyncio.timeout(5):
                    await ours.wait()
                    await theirs.wait()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(host())


def test_a_plain_handler_is_called_too_and_is_back_afterwards(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    observed_until: list[int] = []

    def theirs(number: int, _: object) -> None:
        observed_until.append(number)

    async def host() -> None:
        ours = asyncio.Event()
        with call_on_stop(ours.set):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(ours.wait(), 5)
        assert signal.getsignal(signal.SIGTERM) is theirs

    signal.signal(signal.SIGTERM, theirs)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(host())
    assert observed_until == [signal.SIGTERM]


async def test_whoever_of_two_goes_first_the_other_and_the_host_still_hear() -> None:
    observed_until: list[str] = []
    done = asyncio.Event()
    first, second = call_on_stop(lambda: observed_until.append("first")), call_on_stop(done.set)
    signal.signal(signal.SIGTERM, lambda *_: observed_until.append("host"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(done.wait(), 5)
    second.__exit__(None, None, None)
    assert observed_until == ["host"]


async def test_a_handler_that_was_set_after_ours_stays() -> None:
    def later(number: int, _: object) -> None:
        """Whoever came after us."""

    signal.signal(signal.SIGTERM, lambda *_: None)
    with call_on_stop(lambda: None):
        signal.signal(signal.SIGTERM, later)
    assert signal.getsignal(signal.SIGTERM) is later


async def test_a_signal_that_nobody_handles_is_left_to_the_system() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with call_on_stop(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_off_the_main_thread_nothing_is_touched() -> None:
    seen: list[object] = []

    async def host() -> None:
        with call_on_stop(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=asyncio.run, args=(host(),))
    thread.start()
    thread.join(5)
    assert seen == [before]


def test_a_signal_after_the_loop_was_closed_reaches_the_host() -> None:
    observed_until: list[int] = []
    left: list[object] = []

    async def host() -> None:
        guest = call_on_stop(lambda: None)
        guest.__enter__()  # and never left: the loop was stopped under it
        left.append(guest)

    signal.signal(signal.SIGTERM, lambda number, _: observed_until.append(number))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(host())
    loop.close()
    signal.raise_signal(signal.SIGTERM)
    assert observed_until == [signal.SIGTERM]
