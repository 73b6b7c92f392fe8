"""SIGTERM: a host application without a handler stops gracefully and ends by the signal.

The handler of a host application is never replaced.
"""

import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from tests.support.sdk import RedisView, RunProgram, eventually

TERMINATED = -signal.SIGTERM


def wait_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def test_program_without_a_handler_stops_gracefully_and_ends_by_the_signal(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import atexit
        atexit.register(print, "never printed: a signal runs no atexit hook")
        service.start()
        service.update(n=1)
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(process)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == TERMINATED
    assert (redis_view.latest, redis_view.events[-1]["stopped"]) == ({"n": 1}, True)


def test_program_ends_within_the_stop_timeout_when_redis_is_frozen(run_program: RunProgram) -> None:
    process = run_program(
        """
        import socket
        silent = socket.create_server(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        services = [Service("many", redis_url=url).start() for _ in range(5)]
        silent.accept()
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(process)
    started = time.monotonic()
    process.terminate()
    assert process.wait(20) == TERMINATED
    assert 1 < time.monotonic() - started < 4, "2 s, and a margin for a busy machine"


def test_signal_during_an_update_publishes_the_graceful_stop(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """Handler and sender deadlocked.

    The handler waited for the sender, which waited for the lock of the interrupted update.
    """
    for run in range(1, 13):
        process = run_program(
            """
            service.start()
            print("ready", flush=True)
            n = 0
            while True:
                n += 1
                service.update(n=n)
            """
        )
        wait_ready(process)
        process.terminate()
        assert process.wait(20) == TERMINATED
        assert sum(event.get("stopped", False) for event in redis_view.events) == run


def test_second_signal_ends_the_program_at_once(run_program: RunProgram) -> None:
    process = run_program(
        """
        import socket
        import pulseboard.sdk.process_hooks
        pulseboard.sdk.process_hooks.STOP_TIMEOUT_S = 60
        silent = socket.create_server(("127.0.0.1", 0))
        service = Service("balance-sync", redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        lifecycle = service._lifecycle
        begin_stop = lifecycle.begin_stop
        def announce_and_begin_stop():
            print("ready", flush=True)
            return begin_stop()
        lifecycle.begin_stop = announce_and_begin_stop
        service.start()
        silent.accept()
        import signal
        signal.raise_signal(signal.SIGTERM)
        wait()
        """
    )
    wait_ready(process)
    process.terminate()
    started = time.monotonic()
    assert process.wait(30) == TERMINATED
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_handler_of_the_host_application_runs_instead_of_ours(
    run_program: RunProgram, redis_view: RedisView, when: str
) -> None:
    process = run_program(
        f"""
        import signal, sys
        def handle(*_):
            service.update(stopping=True)
            sys.exit(7)
        if {when == "before"}:
            signal.signal(signal.SIGTERM, handle)
        service.start()
        if {when == "after"}:
            signal.signal(signal.SIGTERM, handle)
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(process)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 7
    assert redis_view.latest == {"stopping": True}
    assert redis_view.events[-1]["stopped"] is True


def test_handler_that_calls_the_replaced_handler_ends_with_its_own_status(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import signal
        service.start()
        def handle(*arguments):
            service.update(stopping=True)
            replaced(*arguments)
        replaced = signal.signal(signal.SIGTERM, handle)
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(process)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == TERMINATED
    assert (redis_view.latest, redis_view.events[-1]["stopped"]) == ({"stopping": True}, True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_asyncio_program_keeps_its_handler(
    run_program: RunProgram, redis_view: RedisView, when: str
) -> None:
    process = run_program(
        f"""
        import asyncio, signal
        async def main():
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            if {when == "before"}:
                loop.add_signal_handler(signal.SIGTERM, stop.set)
            async with service:
                if {when == "after"}:
                    loop.add_signal_handler(signal.SIGTERM, stop.set)
                print("ready", flush=True)
                await stop.wait()
                service.update(done=True)
        asyncio.run(main())
        """
    )
    wait_ready(process)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    assert redis_view.statuses[-2:] == [{"done": True}, {"done": True}]
    assert redis_view.events[-1]["stopped"] is True


def test_asyncio_program_without_a_handler_stops_gracefully(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import asyncio
        async def main():
            async with service:
                print("ready", flush=True)
                await asyncio.Event().wait()
        asyncio.run(main())
        """
    )
    wait_ready(process)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == TERMINATED
    assert redis_view.events[-1]["stopped"] is True


def test_ignored_sigterm_stays_ignored_and_sigint_keeps_pythons_handler(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        service.start()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        print("ready", flush=True)
        input()
        """
    )
    wait_ready(process)
    process.terminate()
    _, errors = process.communicate("\n", timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert redis_view.events[-1]["stopped"] is True


@pytest.mark.parametrize(
    "program",
    [
        'service = Service("balance-sync", stop_on_sigterm=False).start()',
        (
            "import threading\n"
            "thread = threading.Thread(target=service.start)\n"
            "thread.start()\n"
            "thread.join()"
        ),
        "service.update(n=1)",
    ],
    ids=["opted out", "off the main thread", "not started"],
)
def test_handler_is_installed_only_by_a_start_on_the_main_thread(
    run_program: RunProgram, redis_view: RedisView, program: str
) -> None:
    check = "import signal\nassert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    process = run_program(f'{program}\n{check}print("ready", flush=True)\nwait()')
    wait_ready(process)
    process.terminate()
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == TERMINATED
    assert not any(event.get("stopped") for event in redis_view.events)


def test_forked_child_stops_gracefully_only_if_it_has_published(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import os, signal, time
        service.start()
        def fork(work):
            reading, writing = os.pipe()
            child = os.fork()
            if not child:
                work()
                os.write(writing, b"x")
                time.sleep(60)
            os.read(reading, 1)
            os.kill(child, signal.SIGTERM)
            return child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        publishing, code = fork(lambda: service.update(role="child"))
        assert code == -15, code
        silent, code = fork(lambda: None)
        assert code == -15, code
        print(publishing, flush=True)
        service.update(role="parent")
        wait()
        """
    )
    assert process.stdout is not None
    publishing = process.stdout.readline().strip()
    eventually(lambda: redis_view.latest == {"role": "parent"})
    stopped_pids = [
        event["instance"].rpartition(":")[2] for event in redis_view.events if event.get("stopped")
    ]
    assert stopped_pids == [publishing]


def is_on_board(redis_view: RedisView, suffix: str) -> bool:
    return any(name.endswith(suffix) for name in redis_view.board)


def test_signal_during_any_call_ends_the_program_after_its_graceful_stop(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """The signal arrives during an update, a start or a stop.

    None of these calls prevents the end of the program, and the graceful stop is the last event.
    """
    processes = [
        run_program(
            f"""
            service.start()
            other = Service("balance-sync")
            print("ready", flush=True)
            n = 0
            while True:
                n += 1
                service.update(n=n, text="x" * {size})
                if not n % 50:
                    other.start()
                    other.stop()
            """
        )
        for size in (1, 100, 5_000)
    ]
    for process in processes:
        wait_ready(process)
        suffix = f":{process.pid}"
        eventually(partial(is_on_board, redis_view, suffix))
        process.terminate()
    for process in processes:
        assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == TERMINATED
        assert (
            redis_view.board[
                next(name for name in redis_view.board if name.endswith(f":{process.pid}"))
            ]["stopped"]
            is True
        )


def test_first_process_of_a_container_ends_on_sigterm(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """A container was killed after its stop timeout of 10 s.

    The kernel does not deliver an unhandled SIGTERM to the process with pid 1.
    """
    unshare = shutil.which("unshare")
    contained = [unshare or "unshare", "--pid", "--fork", "--kill-child"]
    if (
        unshare is None
        or subprocess.run([*contained, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no permission to create a PID namespace")
    process = run_program(
        f"""
        import os, subprocess, sys
        inner = '''
        import os
        from pulseboard import Service
        service = Service("balance-sync", instance="contained").start()
        assert os.getpid() == 1
        print("ready", flush=True)
        input()
        '''
        import textwrap
        contained = subprocess.Popen(
            [*{contained!r}, {sys.executable!r}, "-c", textwrap.dedent(inner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        contained.stdout.readline()
        children = open(f"/proc/{{contained.pid}}/task/{{contained.pid}}/children").read().split()
        os.kill(int(children[0]), 15)
        print(contained.wait(), flush=True)
        """
    )
    output, _ = process.communicate(timeout=30)
    assert output == "143\n"
    assert redis_view.events[-1]["stopped"] is True
