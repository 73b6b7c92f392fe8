"""Programs with a service in them: how they end, fork and keep the processor to themselves."""

import itertools
import os
import signal
import time

import pytest
from tests.support.sdk import RedisView, RunProgram, eventually


def test_a_program_that_ends_says_goodbye_by_itself(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program("service.start()\nservice.update(n=1)")
    _, errors = host.communicate(timeout=20)
    assert (host.returncode, errors) == (0, "")
    assert redis_view.statuses[-2:] == [{"n": 1}, {"n": 1}]
    assert redis_view.events[-1]["stopped"] is True


def test_a_program_that_fails_says_goodbye_as_well(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program("with service:\n    service.update(n=1)\n    raise ValueError('its own')")
    _, errors = host.communicate(timeout=20)
    assert host.returncode == 1
    assert errors.strip().endswith("ValueError: its own")
    assert redis_view.events[-1]["stopped"] is True


def test_a_program_that_is_killed_says_nothing(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program("service.start()\nservice.update(n=1)\ninput()")
    eventually(lambda: redis_view.latest == {"n": 1} and redis_view.heartbeats)
    host.kill()
    host.wait()
    assert not any(event.get("stopped") for event in redis_view.events)


def test_the_exit_waits_for_all_services_together_when_redis_is_frozen(
    run_program: RunProgram,
) -> None:
    """Each waited its own 2 s: a program with ten services took 20 s to end."""
    host = run_program(
        """
        import socket
        silent = socket.create_server(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        services = [Service("many", redis_url=url).start() for _ in range(10)]
        print(len({service.instance for service in services}), flush=True)
        """
    )
    assert host.stdout is not None
    assert host.stdout.readline() == "10\n"
    started = time.monotonic()
    host.communicate(timeout=60)
    assert time.monotonic() - started < 10


def test_a_forked_child_is_an_instance_of_its_own_once_it_says_something(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        import os
        service.start()
        service.update(who="parent")
        silent = os.fork()
        if not silent:
            os._exit(0)
        os.waitpid(silent, 0)
        child = os.fork()
        if not child:
            service.update(who="child")
            service.stop()
            os._exit(0)
        os.waitpid(child, 0)
        print(os.getpid(), silent, child, flush=True)
        service.update(who="parent again")
        input()
        """
    )
    assert host.stdout is not None
    parent, silent, child = host.stdout.readline().split()
    eventually(lambda: redis_view.latest == {"who": "parent again"})
    by_instance: dict[str, list[str | None]] = {}
    for event in redis_view.events:
        by_instance.setdefault(event["instance"].rpartition(":")[2], []).append(
            event["status"].get("who")
        )
    assert by_instance == {parent: [None, "parent", "parent again"], child: ["child", "child"]}
    assert silent not in by_instance
    goodbyes = [
        event["instance"].rpartition(":")[2] for event in redis_view.events if event.get("stopped")
    ]
    assert goodbyes == [child]
    seen = len(redis_view.heartbeats)
    eventually(
        lambda: len(redis_view.heartbeats) > seen
    )  # the parent's connection was not the child's to close
    _, errors = host.communicate("\n", timeout=20)
    assert errors == ""


def test_services_made_before_a_fork_and_started_after_it_bear_the_childs_pid(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """As gunicorn does with preload: all workers were one instance, by the pid of the parent."""
    host = run_program(
        """
        import os
        children = []
        for n in range(2):
            child = os.fork()
            if not child:
                service.start()
                service.update(n=n)
                service.stop()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        print(*children)
        """
    )
    output, errors = host.communicate(timeout=20)
    assert errors == ""
    assert {name.rpartition(":")[2] for name in redis_view.board} == set(output.split())


def test_a_named_instance_keeps_its_name_over_a_fork(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        import os
        service = Service("balance-sync", instance="only-one").start()
        child = os.fork()
        if not child:
            service.update(n=1)
            service.stop()
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    _, errors = host.communicate(timeout=20)
    assert errors == ""
    assert set(redis_view.board) == {"balance-sync/only-one"}


@pytest.mark.parametrize("package", ["multiprocessing", "billiard"])
def test_children_of_multiprocessing_are_instances_and_say_goodbye(
    run_program: RunProgram, redis_view: RedisView, package: str
) -> None:
    """They end past atexit, so each was left behind as lost. The other package is Celery's edition of it."""
    host = run_program(
        f"""
        import {package}
        service.start()
        context = {package}.get_context("fork")
        def work(n):
            service.update(n=n)
        children = [context.Process(target=work, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print(*(child.pid for child in children))
        """
    )
    output, errors = host.communicate(timeout=30)
    assert errors == ""
    ended = {
        event["instance"].rpartition(":")[2] for event in redis_view.events if event.get("stopped")
    }
    assert ended == {*output.split(), str(host.pid)}


def test_a_child_that_starts_a_service_for_each_job_does_not_pile_up_hooks(
    run_program: RunProgram,
) -> None:
    host = run_program(
        """
        import multiprocessing, multiprocessing.util
        def work():
            for n in range(20):
                with Service("job", instance="only-one") as job:
                    job.update(n=n)
            print(len(multiprocessing.util._finalizer_registry), flush=True)
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        """
    )
    output, errors = host.communicate(timeout=30)
    assert errors == ""
    assert int(output) <= 2


def test_a_fork_in_the_middle_of_an_update_by_another_thread_does_not_deadlock_the_child(
    run_program: RunProgram,
) -> None:
    host = run_program(
        """
        import os, threading
        service.start()
        stop = False
        def busy():
            while not stop:
                service.update(n=1)
        thread = threading.Thread(target=busy)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                service.update(n=2)
                service.stop()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0
        stop = True
        thread.join()
        """
    )
    _, errors = host.communicate(timeout=60)
    assert (host.returncode, errors) == (0, "")


def test_the_thread_imports_nothing_that_a_fork_could_leave_half_done(
    run_program: RunProgram,
) -> None:
    """A child that was forked in the middle of such an import never reached Redis: its module stayed half a one."""
    host = run_program(
        """
        import sys, threading, time
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if threading.current_thread().name.startswith("pulseboard-"):
                    print(name)
        sys.meta_path.insert(0, Watch())
        away = Service("away", redis_url="redis://localhost:1").start()
        service.start()
        while not (away.stats().failures and service.stats().connected):
            time.sleep(0.01)
        service.update(n=1)
        """
    )
    assert host.communicate(timeout=20)[0] == ""


def test_beats_go_on_while_the_host_computes(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        service.start()
        print("ready", flush=True)
        while True:
            sum(range(10_000))
        """
    )
    assert host.stdout is not None
    assert host.stdout.readline() == "ready\n"
    eventually(lambda: len(redis_view.heartbeats) >= 8)
    times = [ms for ms, _ in redis_view.heartbeats]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 2_000
    os.kill(host.pid, signal.SIGKILL)


def test_threads_that_never_rest_do_not_take_the_time_for_a_goodbye(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """Some of them had the interpreter nearly all of the time that an end may take."""
    host = run_program(
        """
        import threading
        service.start()

        def flood():
            while True:
                service.update(n=1)
                service.log("info", "x")

        for _ in range(3):
            threading.Thread(target=flood, daemon=True).start()
        time.sleep(1)
        """
    )
    host.communicate(timeout=40)
    assert host.returncode == 0
    assert redis_view.events[-1].get("stopped") is True


@pytest.mark.parametrize("end", ["sys.exit(0)", "return", "raise ValueError('its own')"])
def test_a_child_forked_in_a_thread_says_goodbye_and_ends_with_it(
    run_program: RunProgram, redis_view: RedisView, end: str
) -> None:
    """The service's own thread was the last one, and kept it alive and beating for ever."""
    host = run_program(
        f"""
        import os, sys, threading
        service.start()

        def work():
            child = os.fork()
            if not child:
                service.update(who="child")
                {end}
                return
            os.waitpid(child, 0)
            print(child, flush=True)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    out, _ = host.communicate(timeout=30)
    (child,) = [event for who, event in redis_view.board.items() if who.endswith(f":{out.strip()}")]
    assert (child["status"], child["stopped"]) == ({"who": "child"}, True)


def test_a_child_forked_in_a_thread_lives_as_long_as_threads_of_its_own(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    host = run_program(
        """
        import os, threading
        service.start()

        def work_on():
            time.sleep(1.5)
            service.update(who="the child's thread")

        def work():
            child = os.fork()
            if not child:
                service.update(who="child")
                threading.Thread(target=work_on).start()
                return
            os.waitpid(child, 0)
            print(child, flush=True)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    out, _ = host.communicate(timeout=30)
    (child,) = [event for who, event in redis_view.board.items() if who.endswith(f":{out.strip()}")]
    assert (child["status"], child["stopped"]) == ({"who": "the child's thread"}, True)
