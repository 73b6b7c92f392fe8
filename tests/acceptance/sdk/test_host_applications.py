"""Host applications with a service: how they end, fork and use the processor."""

import itertools
import os
import signal
import time

import pytest
from tests.support.sdk import RedisView, RunProgram, eventually


def test_program_that_ends_stops_its_service_gracefully(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program("service.start()\nservice.update(n=1)")
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert redis_view.statuses[-2:] == [{"n": 1}, {"n": 1}]
    assert redis_view.events[-1]["stopped"] is True


def test_program_that_raises_stops_its_service_gracefully(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        "with service:\n    service.update(n=1)\n    raise ValueError('of the program')"
    )
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.strip().endswith("ValueError: of the program")
    assert redis_view.events[-1]["stopped"] is True


def test_killed_program_publishes_no_graceful_stop(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program("service.start()\nservice.update(n=1)\ninput()")
    eventually(lambda: redis_view.latest == {"n": 1} and redis_view.heartbeats)
    process.kill()
    process.wait()
    assert not any(event.get("stopped") for event in redis_view.events)


def test_exit_waits_once_for_all_services_when_redis_is_frozen(
    run_program: RunProgram,
) -> None:
    """Each service waited 2 s in turn: a program with ten services took 20 s to end."""
    process = run_program(
        """
        import socket
        silent = socket.create_server(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        services = [Service("many", redis_url=url).start() for _ in range(10)]
        print(len({service.instance for service in services}), flush=True)
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "10\n"
    started = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - started < 10


def test_forked_child_is_a_separate_instance_once_it_publishes(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import os
        service.start()
        service.update(role="parent")
        silent = os.fork()
        if not silent:
            os._exit(0)
        os.waitpid(silent, 0)
        child = os.fork()
        if not child:
            service.update(role="child")
            service.stop()
            os._exit(0)
        os.waitpid(child, 0)
        print(os.getpid(), silent, child, flush=True)
        service.update(role="parent again")
        input()
        """
    )
    assert process.stdout is not None
    parent, silent, child = process.stdout.readline().split()
    eventually(lambda: redis_view.latest == {"role": "parent again"})
    by_instance: dict[str, list[str | None]] = {}
    for event in redis_view.events:
        by_instance.setdefault(event["instance"].rpartition(":")[2], []).append(
            event["status"].get("role")
        )
    assert by_instance == {parent: [None, "parent", "parent again"], child: ["child", "child"]}
    assert silent not in by_instance
    stopped_pids = [
        event["instance"].rpartition(":")[2] for event in redis_view.events if event.get("stopped")
    ]
    assert stopped_pids == [child]
    heartbeat_count = len(redis_view.heartbeats)
    eventually(
        lambda: len(redis_view.heartbeats) > heartbeat_count
    )  # the child has not closed the connection of the parent
    _, errors = process.communicate("\n", timeout=20)
    assert errors == ""


def test_service_created_before_and_started_after_a_fork_has_the_childs_pid(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """With gunicorn's preload, all workers were one instance with the pid of the parent."""
    process = run_program(
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
    output, errors = process.communicate(timeout=20)
    assert errors == ""
    assert {name.rpartition(":")[2] for name in redis_view.board} == set(output.split())


def test_named_instance_keeps_its_name_after_a_fork(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
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
    _, errors = process.communicate(timeout=20)
    assert errors == ""
    assert set(redis_view.board) == {"balance-sync/only-one"}


@pytest.mark.parametrize("package", ["multiprocessing", "billiard"])
def test_children_of_multiprocessing_are_instances_and_stop_gracefully(
    run_program: RunProgram, redis_view: RedisView, package: str
) -> None:
    """Each child became lost, because these children end without running atexit hooks.

    billiard is Celery's fork of multiprocessing.
    """
    process = run_program(
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
    output, errors = process.communicate(timeout=30)
    assert errors == ""
    ended = {
        event["instance"].rpartition(":")[2] for event in redis_view.events if event.get("stopped")
    }
    assert ended == {*output.split(), str(process.pid)}


def test_child_that_starts_a_service_for_each_job_accumulates_no_exit_hooks(
    run_program: RunProgram,
) -> None:
    process = run_program(
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
    output, errors = process.communicate(timeout=30)
    assert errors == ""
    assert int(output) <= 2


def test_fork_during_an_update_of_another_thread_does_not_deadlock_the_child(
    run_program: RunProgram,
) -> None:
    process = run_program(
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
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_sender_thread_imports_no_module_after_start(
    run_program: RunProgram,
) -> None:
    """A child that was forked during such an import never reached Redis.

    The module stayed half imported in the child.
    """
    process = run_program(
        """
        import sys, threading, time
        class ImportRecorder:
            def find_spec(self, name, path=None, target=None):
                if threading.current_thread().name.startswith("pulseboard-"):
                    print(name)
        sys.meta_path.insert(0, ImportRecorder())
        unreachable = Service("unreachable", redis_url="redis://localhost:1").start()
        service.start()
        while not (unreachable.stats().failures and service.stats().connected):
            time.sleep(0.01)
        service.update(n=1)
        """
    )
    assert process.communicate(timeout=20)[0] == ""


def test_heartbeats_continue_while_the_host_application_computes(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        service.start()
        print("ready", flush=True)
        while True:
            sum(range(10_000))
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    eventually(lambda: len(redis_view.heartbeats) >= 8)
    times = [ms for ms, _ in redis_view.heartbeats]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 2_000
    os.kill(process.pid, signal.SIGKILL)


def test_busy_threads_do_not_prevent_the_graceful_stop(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    """The graceful stop timed out, because busy threads held the interpreter lock."""
    process = run_program(
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
    process.communicate(timeout=40)
    assert process.returncode == 0
    assert redis_view.events[-1].get("stopped") is True


@pytest.mark.parametrize("end", ["sys.exit(0)", "return", "raise ValueError('of the program')"])
def test_child_forked_in_a_thread_ends_after_its_graceful_stop(
    run_program: RunProgram, redis_view: RedisView, end: str
) -> None:
    """The sender thread kept the child alive as its last thread and sent heartbeats forever."""
    process = run_program(
        f"""
        import os, sys, threading
        service.start()

        def work():
            child = os.fork()
            if not child:
                service.update(role="child")
                {end}
                return
            os.waitpid(child, 0)
            print(child, flush=True)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    out, _ = process.communicate(timeout=30)
    (child,) = [
        event for name, event in redis_view.board.items() if name.endswith(f":{out.strip()}")
    ]
    assert (child["status"], child["stopped"]) == ({"role": "child"}, True)


def test_child_forked_in_a_thread_lives_until_its_own_threads_end(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    process = run_program(
        """
        import os, threading
        service.start()

        def work_on():
            time.sleep(1.5)
            service.update(role="the child's thread")

        def work():
            child = os.fork()
            if not child:
                service.update(role="child")
                threading.Thread(target=work_on).start()
                return
            os.waitpid(child, 0)
            print(child, flush=True)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """
    )
    out, _ = process.communicate(timeout=30)
    (child,) = [
        event for name, event in redis_view.board.items() if name.endswith(f":{out.strip()}")
    ]
    assert (child["status"], child["stopped"]) == ({"role": "the child's thread"}, True)
