"""A real Celery worker with the prefork pool: each child is a separate instance.

Each child stops gracefully.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from tests.support.sdk import SOURCE, RedisView, eventually

from pulseboard.bus.connection.address import RedisAddress

APP = """
import os, time
from celery import Celery
from pulseboard import Service

app = Celery("jobs", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_transport_options={"global_keyprefix": os.environ["PULSEBOARD_NAMESPACE"]},
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
service = Service("jobs", heartbeat_s=0.3).start()

@app.task(name="jobs.work")
def work(n):
    service.update(n=n)
    time.sleep(0.2)
"""

StartWorker = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def jobs(address: RedisAddress, namespace: str) -> Iterator[Celery]:
    """Return the Celery app that sends the tasks."""
    app = Celery("jobs", broker=address.url)
    app.conf.update(
        broker_transport_options={"global_keyprefix": namespace}, task_ignore_result=True
    )
    yield app
    app.close()


@pytest.fixture
def start_worker(
    address: RedisAddress, namespace: str, prefix: str, tmp_path: Path
) -> Iterator[StartWorker]:
    """Start a worker with two children; it is killed when the test ends."""
    workers: list[subprocess.Popen[str]] = []
    (tmp_path / "jobs.py").write_text(APP, encoding="utf-8")

    def start(*options: str) -> "subprocess.Popen[str]":
        celery = [
            sys.executable,
            "-m",
            "celery",
            "--app",
            "jobs",
            "worker",
            "--pool",
            "prefork",
            "--concurrency",
            "2",
        ]
        worker = subprocess.Popen(
            [
                *celery,
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
                "--loglevel",
                "WARNING",
                *options,
            ],
            cwd=tmp_path,
            env=os.environ
            | {
                "PYTHONPATH": f"{SOURCE}{os.pathsep}{tmp_path}",
                "BROKER_URL": address.url,
                "REDIS_URL": address.url,
                "PULSEBOARD_NAMESPACE": namespace,
                "PULSEBOARD_CHANNEL_PREFIX": prefix,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.communicate()


def send(jobs: Celery, count: int) -> None:
    for n in range(count):
        jobs.send_task("jobs.work", (n,))


def pid_of(event: dict[str, Any]) -> int:
    return int(event["instance"].rpartition(":")[2])


def instances(redis_view: RedisView) -> set[int]:
    return {pid_of(event) for event in redis_view.events}


def stopped_pids(redis_view: RedisView) -> list[int]:
    return [pid_of(event) for event in redis_view.events if event.get("stopped")]


def finish(worker: "subprocess.Popen[str]") -> str:
    output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, output
    return output


def test_children_of_the_pool_are_instances_and_stop_at_a_warm_shutdown(
    start_worker: StartWorker, jobs: Celery, redis_view: RedisView
) -> None:
    """All children became lost after each deployment.

    They end by os._exit(), which runs no exit hook of Python.
    """
    worker = start_worker()
    eventually(lambda: redis_view.events)
    send(jobs, 12)
    eventually(lambda: len(instances(redis_view)) == 3)
    children = instances(redis_view) - {worker.pid}
    eventually(
        lambda: (
            sorted(event["status"]["n"] for event in redis_view.events if event["status"])
            == [*range(12)]
        )
    )
    eventually(
        lambda: (
            {int(name.rpartition(":")[2]) for _, name in redis_view.heartbeats}
            == {worker.pid, *children}
        )
    )
    assert stopped_pids(redis_view) == []
    worker.terminate()
    output = finish(worker)
    assert sorted(stopped_pids(redis_view)) == sorted([worker.pid, *children]), output
    assert all(event.get("stopped") for event in redis_view.board.values())
    assert "Traceback" not in output


def test_child_replaced_after_max_tasks_stops_gracefully_and_the_parent_continues(
    start_worker: StartWorker, jobs: Celery, redis_view: RedisView
) -> None:
    worker = start_worker("--max-tasks-per-child", "2")
    eventually(lambda: redis_view.events)
    send(jobs, 8)
    eventually(lambda: len(stopped_pids(redis_view)) >= 3)
    assert worker.pid not in stopped_pids(redis_view)
    heartbeats = len([name for _, name in redis_view.heartbeats if name.endswith(f":{worker.pid}")])
    eventually(
        lambda: (
            len([name for _, name in redis_view.heartbeats if name.endswith(f":{worker.pid}")])
            > heartbeats
        )
    )
    worker.terminate()
    finish(worker)
    assert set(stopped_pids(redis_view)) == instances(redis_view)


def test_cold_shutdown_stops_every_instance_gracefully(
    start_worker: StartWorker, jobs: Celery, redis_view: RedisView
) -> None:
    worker = start_worker()
    eventually(lambda: redis_view.events)
    send(jobs, 4)
    eventually(lambda: len(instances(redis_view)) == 3)
    worker.send_signal(signal.SIGQUIT)
    worker.communicate(timeout=60)
    eventually(lambda: set(stopped_pids(redis_view)) == instances(redis_view))
