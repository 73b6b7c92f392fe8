"""`pulseboard demo` as a program: three services share a board; a crash affects one."""

import os
import signal
import subprocess
from typing import Any

import httpx
from tests.support.cli import Pulseboard, is_ready, until

SERVICES = {"balanceSync", "accountDiscovery", "accountEnrichment"}


def table() -> list[tuple[int, int, str, str]]:
    """Return (pid, pid of the parent, state, command line) of every live process."""
    rows = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    split = [row.split(None, 3) for row in rows.stdout.splitlines()]
    return [
        (int(row[0]), int(row[1]), row[2], row[3]) for row in split if not row[2].startswith("Z")
    ]


def children(parent: int) -> dict[int, str]:
    return {pid: args for pid, ppid, _, args in table() if ppid == parent}


def alive(pids: set[int]) -> set[int]:
    return pids & {pid for pid, *_ in table()}


def test_three_services_share_one_board_until_ctrl_c(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    program = pulseboard("demo", "--port", "0", **redis_env)
    url = program.url

    def statuses() -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{url}/api/services/status").json()
        return document

    until(lambda: is_ready(url), "the server did not become ready")
    assert set(statuses()) == SERVICES
    until(lambda: all(statuses().values()), "not every service published a status")
    first = statuses()
    until(
        lambda: all(status != first[name] for name, status in statuses().items()),
        "the status of a service does not change",
    )

    # One service is killed: it is restarted, and the other processes stay the same.
    before = children(program.process.pid)
    (victim,) = [pid for pid, args in before.items() if "worker balance-sync" in args]
    os.kill(victim, signal.SIGKILL)
    until(
        lambda: [args for pid, args in children(program.process.pid).items() if pid not in before],
        "the killed service was not restarted",
    )
    after = children(program.process.pid)
    assert set(before) - set(after) == {victim}
    at_death = statuses()["balanceSync"]
    until(lambda: statuses()["balanceSync"] != at_death, "the restarted service published nothing")

    assert program.stop(signal.SIGINT) == 0
    until(lambda: not alive(set(after)), "a process is still alive")
    assert "Traceback" not in program.err
    assert "balance-sync" in program.err  # the output reports the end and the restart
    with_redis = [line for line in (program.out + program.err).splitlines() if "geheim" in line]
    assert with_redis == []


def test_killing_the_demo_leaves_no_process_behind(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    program = pulseboard("demo", "--port", "0", **redis_env)
    until(
        lambda: len(children(program.process.pid)) == 5,
        "server, bank and three services did not start",
    )
    pids = set(children(program.process.pid))
    program.process.kill()
    program.wait()
    until(lambda: not alive(pids), "a process is still alive")


def test_services_execute_commands(pulseboard: Pulseboard, redis_env: dict[str, str]) -> None:
    program = pulseboard("demo", "--port", "0", **redis_env)
    url = program.url

    def send(service: str, command: str, **args: object) -> httpx.Response:
        return httpx.post(
            f"{url}/api/services/{service}/commands", json={"command": command, "args": args}
        )

    def done(response: httpx.Response) -> Any:
        """Wait until the command is done; return the result."""
        assert response.status_code == 202, response.text
        record = f"{url}/api/commands/{response.json()['id']}"
        until(lambda: httpx.get(record).json()["receipts"][-1:], "no instance received the command")
        until(
            lambda: httpx.get(record).json()["receipts"][-1]["receipt"] == "done",
            "the command was not done",
        )
        return httpx.get(record).json()["receipts"][-1]["result"]

    def phase(service: str) -> str:
        (instance,) = [each for each in instances(service) if not each["stopped"]]
        return str(instance["status"]["phase"])

    def instances(service: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            httpx.get(f"{url}/api/services/{service}").json().get("instances", [])
        )
        return found

    until(lambda: is_ready(url), "the server did not become ready")
    until(
        lambda: send("balance-sync", "ping").status_code == 202, "no instance listens for commands"
    )
    until(
        lambda: httpx.get(f"{url}/api/services/balance-sync/logs").json()["lines"],
        "no user was synced",
    )
    assert "balance" in done(send("balance-sync", "trigger", user_id=1))
    assert send("balance-sync", "trigger").json()["code"] == "bad-arguments"

    done(send("balance-sync", "pause"))
    until(lambda: phase("balance-sync") == "paused", "the service did not pause")
    done(send("balance-sync", "resume"))
    until(lambda: phase("balance-sync") != "paused", "the service did not resume")

    (before,) = instances("account-discovery")
    done(send("account-discovery", "restart"))
    until(
        lambda: (
            [each["instance"] for each in instances("account-discovery")]
            not in ([before["instance"]], [])
        ),
        "no new instance appeared",
    )
    until(
        lambda: [each["state"] for each in instances("account-discovery")] == ["alive"],
        "the old instance is still on the board",
    )
    assert program.stop(signal.SIGINT) == 0
