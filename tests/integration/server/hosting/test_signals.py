"""A stop signal reaches our callback and the handlers of the host application."""

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
def restored_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return factory


def test_signal_handler_of_the_loop_is_called_too(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run_host_application() -> None:
        loop = asyncio.get_running_loop()
        host_handler, stop_requested = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, host_handler.set)
        try:
            with call_on_stop(stop_requested.set):
                os.kill(os.getpid(), signal.SIGTERM)
                async with asyncio.timeout(5):
                    await stop_requested.wait()
                    await host_handler.wait()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run_host_application())


def test_handler_of_the_signal_module_is_called_too_and_restored_afterwards(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    received: list[int] = []

    def host_handler(number: int, _: object) -> None:
        received.append(number)

    async def run_host_application() -> None:
        stop_requested = asyncio.Event()
        with call_on_stop(stop_requested.set):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stop_requested.wait(), 5)
        assert signal.getsignal(signal.SIGTERM) is host_handler

    signal.signal(signal.SIGTERM, host_handler)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run_host_application())
    assert received == [signal.SIGTERM]


async def test_signal_reaches_the_second_callback_and_the_host_after_the_first_is_removed() -> None:
    received: list[str] = []
    done = asyncio.Event()
    first, second = call_on_stop(lambda: received.append("first")), call_on_stop(done.set)
    signal.signal(signal.SIGTERM, lambda *_: received.append("host"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(done.wait(), 5)
    second.__exit__(None, None, None)
    assert received == ["host"]


async def test_handler_that_was_set_after_ours_stays() -> None:
    def later_handler(number: int, _: object) -> None:
        """Stand for a handler that the host application installs later."""

    signal.signal(signal.SIGTERM, lambda *_: None)
    with call_on_stop(lambda: None):
        signal.signal(signal.SIGTERM, later_handler)
    assert signal.getsignal(signal.SIGTERM) is later_handler


async def test_signal_with_the_default_action_keeps_it() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with call_on_stop(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_no_handler_changes_outside_the_main_thread() -> None:
    seen: list[object] = []

    async def run_host_application() -> None:
        with call_on_stop(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=asyncio.run, args=(run_host_application(),))
    thread.start()
    thread.join(5)
    assert seen == [before]


def test_signal_after_the_end_of_the_loop_reaches_the_host_application() -> None:
    received: list[int] = []
    open_contexts: list[object] = []

    async def run_host_application() -> None:
        context = call_on_stop(lambda: None)
        context.__enter__()  # it is never exited, as when the loop is stopped under it
        open_contexts.append(context)

    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(run_host_application())
    loop.close()
    signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
