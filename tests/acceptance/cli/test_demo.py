"""`pulseboard demo` as a program: three services live on one board, whatever happens to one of them."""

import os
import signal
import subprocess
from typing import Any

import httpx
from tests.support.cli import Pulseboard, is_ready, until

SERVICES = {"balanceSync", "accountDiscovery", "accountEnrichment"}


def table() -> list[tuple[int, int, str, str]]:
    """Every live process as (pid, parent's pid, state, command line)."""
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


def test_three_services_live_on_one_board_until_ctrl_c(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    program = pulseboard("demo", "--port", "0", **redis_env)
    url = program.url

    def statuses() -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{url}/api/services/status").json()
        return document

    until(lambda: is_ready(url), "the server did not become ready")
    assert set(statuses()) == SERVICES
    until(lambda: all(statuses().values()), "not every service came")
    first = statuses()
    until(
        lambda: all(status != first[name] for name, status in statuses().items()),
        "the values of one do not change",
    )

    # One is killed: it comes back, and the others go on as the processes that they were.
    before = children(program.process.pid)
    (victim,) = [pid for pid, args in before.items() if "worker balance-sync" in args]
    os.kill(victim, signal.SIGKILL)
    until(
        lambda: [args for pid, args in children(program.process.pid).items() if pid not in before],
        "nothing was started in its place",
    )
    after = children(program.process.pid)
    assert set(before) - set(after) == {victim}
    at_death = statuses()["balanceSync"]
    until(lambda: statuses()["balanceSync"] != at_death, "it did not come back to work")

    assert program.stop(signal.SIGINT) == 0
    until(lambda: not alive(set(after)), "a process was left")
    assert "Traceback" not in program.err
    assert "balance-sync" in program.err  # its end and its restart were told
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
    until(lambda: not alive(pids), "a process was left")


def test_the_services_do_what_they_are_told(
    pulseboard: Pulseboard, redis_env: dict[str, str]
) -> None:
    program = pulseboard("demo", "--port", "0", **redis_env)
    url = program.url

    def send(service: str, command: str, **args: object) -> httpx.Response:
        return httpx.post(
            f"{url}/api/services/{service}/commands", json={"command": command, "args": args}
        )

    def done(answer: httpx.Response) -> Any:
        """Wait until it is done; return the result."""
        assert answer.status_code == 202, answer.text
        record = f"{url}/api/commands/{answer.json()['id']}"
        until(lambda: httpx.get(record).json()["receipts"][-1:], "nobody received it")
        until(
            lambda: httpx.get(record).json()["receipts"][-1]["receipt"] == "done", "it was not done"
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
    until(lambda: send("balance-sync", "ping").status_code == 202, "it does not listen")
    until(
        lambda: httpx.get(f"{url}/api/services/balance-sync/logs").json()["lines"],
        "nothing was synced",
    )
    assert "balance" in done(send("balance-sync", "trigger", user_id=1))
    assert send("balance-sync", "trigger").json()["code"] == "bad-arguments"

    done(send("balance-sync", "pause"))
    until(lambda: phase("balance-sync") == "paused", "it did not pause")
    done(send("balance-sync", "resume"))
    until(lambda: phase("balance-sync") != "paused", "it did not go on")

    (before,) = instances("account-discovery")
    done(send("account-discovery", "restart"))
    until(
        lambda: (
            [each["instance"] for each in instances("account-discovery")]
            not in ([before["instance"]], [])
        ),
        "it did not come back",
    )
    until(
        lambda: [each["state"] for each in instances("account-discovery")] == ["alive"],
        "the old one stays",
    )
    assert program.stop(signal.SIGINT) == 0
