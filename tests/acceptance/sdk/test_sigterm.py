"""SIGTERM: a host that leaves it alone says goodbye and ends as it would have; one that handles it is left alone."""

import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.support.sdk import RedisView, RunProgram, eventually

TERMINATED = -signal.SIGTERM


def wait_ready(host: "subprocess.Popen[str]") -> None:
    assert host.stdout is not None
    assert host.stdout.readline() == "ready\n"


def test_a_host_without_a_handler_says_goodbye_and_ends_by_the_signal(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        import atexit
        atexit.register(print, "never printed: a signal is no exit")
        service.start()
        service.update(n=1)
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(host)
    host.terminate()
    assert host.communicate(timeout=20) == ("", "")
    assert host.returncode == TERMINATED
    assert (redis_view.latest, redis_view.events[-1]["stopped"]) == ({"n": 1}, True)


def test_it_ends_within_its_time_when_redis_is_frozen(run_program: RunProgram) -> None:
    host = run_program(
        """
        import socket
        silent = socket.create_server(("127.0.0.1", 0))
        services = [Service("many", redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}").start() for _ in range(5)]
        silent.accept()
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(host)
    started = time.monotonic()
    host.terminate()
    assert host.wait(20) == TERMINATED
    assert 1 < time.monotonic() - started < 4, "2 s, and what a loaded machine takes"


def test_it_says_goodbye_in_the_middle_of_an_update(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """The handler waited for the courier, and the courier for the lock of the update that the handler stood in."""
    for turn in range(1, 13):
        host = run_program(
            """
            service.start()
            print("ready", flush=True)
            n = 0
            while True:
                n += 1
                service.update(n=n)
            """
        )
        wait_ready(host)
        host.terminate()
        assert host.wait(20) == TERMINATED
        assert sum(event.get("stopped", False) for event in redis_view.events) == turn


def test_a_second_signal_ends_it_at_once(run_program: RunProgram) -> None:
    host = run_program(
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
    wait_ready(host)
    host.terminate()
    started = time.monotonic()
    assert host.wait(30) == TERMINATED
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_hosts_own_is_the_one_that_runs(
    run_program: RunProgram, redis_view: RedisView, when: str
) -> None:
    host = run_program(
        f"""
        import signal, sys
        def own(*_):
            service.update(stopping=True)
            sys.exit(7)
        if {when == "before"}:
            signal.signal(signal.SIGTERM, own)
        service.start()
        if {when == "after"}:
            signal.signal(signal.SIGTERM, own)
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(host)
    host.terminate()
    assert host.communicate(timeout=20) == ("", "")
    assert host.returncode == 7
    assert redis_view.latest == {"stopping": True}
    assert redis_view.events[-1]["stopped"] is True


def test_a_handler_that_calls_the_one_it_replaced_gets_what_stood_there_an_end(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        import signal
        service.start()
        def own(*what):
            service.update(stopping=True)
            replaced(*what)
        replaced = signal.signal(signal.SIGTERM, own)
        print("ready", flush=True)
        wait()
        """
    )
    wait_ready(host)
    host.terminate()
    assert host.communicate(timeout=20) == ("", "")
    assert host.returncode == TERMINATED
    assert (redis_view.latest, redis_view.events[-1]["stopped"]) == ({"stopping": True}, True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_asyncio_host_keeps_its_handler(
    run_program: RunProgram, redis_view: RedisView, when: str
) -> None:
    host = run_program(
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
    wait_ready(host)
    host.terminate()
    assert host.communicate(timeout=20) == ("", "")
    assert host.returncode == 0
    assert redis_view.statuses[-2:] == [{"done": True}, {"done": True}]
    assert redis_view.events[-1]["stopped"] is True


def test_an_asyncio_host_without_a_handler_says_goodbye_too(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        import asyncio
        async def main():
            async with service:
                print("ready", flush=True)
                await asyncio.Event().wait()
        asyncio.run(main())
        """
    )
    wait_ready(host)
    host.terminate()
    assert host.communicate(timeout=20) == ("", "")
    assert host.returncode == TERMINATED
    assert redis_view.events[-1]["stopped"] is True


def test_an_ignored_signal_stays_ignored_and_ctrl_c_stays_pythons(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
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
    wait_ready(host)
    host.terminate()
    _, errors = host.communicate("\n", timeout=20)
    assert (host.returncode, errors) == (0, "")
    assert redis_view.events[-1]["stopped"] is True


@pytest.mark.parametrize(
    "program",
    [
        'service = Service("balance-sync", stop_on_sigterm=False).start()',
        "import threading\nthread = threading.Thread(target=service.start)\nthread.start()\nthread.join()",
        "service.update(n=1)",
    ],
    ids=["opted out", "off the main thread", "not started"],
)
def test_nothing_is_installed_unless_asked_on_the_main_thread(
    run_program: RunProgram, redis_view: RedisView, program: str
) -> None:
    check = "import signal\nassert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    host = run_program(f'{program}\n{check}print("ready", flush=True)\nwait()')
    wait_ready(host)
    host.terminate()
    assert host.communicate(timeout=20) == ("", "")
    assert host.returncode == TERMINATED
    assert not any(event.get("stopped") for event in redis_view.events)


def test_a_forked_child_says_its_own_goodbye_and_one_that_said_nothing_says_none(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
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
        talking, code = fork(lambda: service.update(who="child"))
        assert code == -15, code
        silent, code = fork(lambda: None)
        assert code == -15, code
        print(talking, flush=True)
        service.update(who="parent")
        wait()
        """
    )
    assert host.stdout is not None
    talking = host.stdout.readline().strip()
    eventually(lambda: redis_view.latest == {"who": "parent"})
    goodbyes = [
        event["instance"].rpartition(":")[2] for event in redis_view.events if event.get("stopped")
    ]
    assert goodbyes == [talking]


def test_the_signal_finds_the_host_in_the_middle_of_anything(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """Of an update, a start, a stop: none may keep it from ending, or the goodbye from being the last word."""
    hosts = [
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
    for host in hosts:
        wait_ready(host)
        eventually(lambda host=host: any(f":{host.pid}" in name for name in redis_view.board))  # type: ignore[misc]
        host.terminate()
    for host in hosts:
        assert host.communicate(timeout=20) == ("", "")
        assert host.returncode == TERMINATED
        assert (
            redis_view.board[
                next(name for name in redis_view.board if name.endswith(f":{host.pid}"))
            ]["stopped"]
            is True
        )


def test_the_first_process_of_a_container_ends_as_well(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """The kernel spares it a signal that it does not handle: a container took its 10 s to stop, and was killed."""
    unshare = shutil.which("unshare")
    contained = [unshare or "unshare", "--pid", "--fork", "--kill-child"]
    if (
        unshare is None
        or subprocess.run([*contained, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no right to make a PID namespace")
    host = run_program(
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
            [*{contained!r}, {sys.executable!r}, "-c", textwrap.dedent(inner)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        contained.stdout.readline()
        children = open(f"/proc/{{contained.pid}}/task/{{contained.pid}}/children").read().split()
        os.kill(int(children[0]), 15)
        print(contained.wait(), flush=True)
        """
    )
    output, _ = host.communicate(timeout=30)
    assert output == "143\n"
    assert redis_view.events[-1]["stopped"] is True
