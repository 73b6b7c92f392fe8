"""The supervisor: a crash affects one child; its own end ends all children."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.demo import until

from pulseboard.demo.supervisor import SERVICES, DemoSettings, run_demo
from pulseboard.supervision.child import Backoff

ALL = {"bank", *SERVICES}
PRINT = {"PULSEBOARD_DEMO_PRINT_STATUS": "1"}
DEMO = """
import asyncio
from pulseboard.demo.supervisor import run_demo
raise SystemExit(asyncio.run(run_demo()))
"""


def children_of(parent: int) -> dict[str, int]:
    """Return the process ids of the demo's programs that are children of a process, by name."""
    table = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [row.split(None, 3) for row in table.stdout.splitlines()]
    found = {}
    for pid, ppid, stat, args in (row for row in rows if len(row) == 4):
        match = re.search(r"pulseboard\.demo\.(?:worker ([a-z-]+)|(bank))", args)
        if match and int(ppid) == parent and not stat.startswith("Z"):
            found[match[1] or match[2]] = int(pid)
    return found


def is_running(pid: int) -> bool:
    stat = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(stat.strip()) and not stat.startswith("Z")


async def test_only_a_killed_child_is_restarted_and_stop_ends_all() -> None:
    out, stop = io.StringIO(), asyncio.Event()
    demo = asyncio.create_task(
        run_demo(
            settings=DemoSettings(env=PRINT, backoff=Backoff(first_s=0.01)), out=out, stop=stop
        )
    )
    await until(lambda: all(re.search(rf"{name} +\| {{", out.getvalue()) for name in SERVICES), 20)
    before = children_of(os.getpid())
    assert set(before) == ALL
    os.kill(before["balance-sync"], signal.SIGKILL)
    await until(
        lambda: children_of(os.getpid()).get("balance-sync") not in (None, before["balance-sync"]),
        20,
    )
    after = children_of(os.getpid())
    assert {name: after[name] for name in ALL - {"balance-sync"}} == {
        name: before[name] for name in ALL - {"balance-sync"}
    }
    assert "was ended by SIGKILL; restarting" in out.getvalue()
    stop.set()
    assert await asyncio.wait_for(demo, 10) == 0
    assert children_of(os.getpid()) == {}
    assert '"phase":"stopped"' in out.getvalue()


async def test_child_that_rejects_its_options_stops_all() -> None:
    out = io.StringIO()
    options = {"account-enrichment": ("--concurrency", "0")}
    settings = DemoSettings(env=PRINT, worker_options=options)
    assert await asyncio.wait_for(run_demo(settings=settings, out=out), 30) == 2
    assert "account-enrichment rejected its options, so all processes stop" in out.getvalue()
    assert children_of(os.getpid()) == {}


async def test_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    # TMPDIR, because the killed supervisor cannot delete the directory of its database.
    env = {**os.environ, **PRINT, "TMPDIR": str(tmp_path)}
    output = tmp_path / "output"
    with output.open("wb") as out:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DEMO, stderr=out, env=env
        )
    # A ready bank prints nothing more, so no broken pipe ends it: it has to end with its parent.
    await until(lambda: "bank ready" in output.read_text(), 20)
    assert set(children_of(supervisor.pid)) == ALL
    pids = children_of(supervisor.pid).values()
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not any(map(is_running, pids)), 10)
