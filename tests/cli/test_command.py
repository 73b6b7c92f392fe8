"""The command line, as a user meets it: one clear line for what is wrong, and the exit code."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from pulseboard.bus.address import RedisAddress
from pulseboard.server.settings import Settings

PULSEBOARD = [sys.executable, "-m", "pulseboard"]
PATIENCE_S = 40.0


def run(*argv: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **(env or {})}
    return subprocess.run(
        [*PULSEBOARD, *argv], cwd=cwd, env=surroundings, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--nope"], "No such option: --nope"),
        (["nope"], "No such command 'nope'"),
        (["serve", "--nope"], "No such option: --nope"),
        (["serve", "--port", "many"], "--port"),
        (["serve", "--port", "65536"], "port"),
        (["serve", "--heartbeat-s", "0"], "heartbeat_s"),
        (["serve", "--expect", "ok,Not Ok"], "'Not Ok' cannot name a service"),
        (["serve", "--namespace", "a b"], "namespace"),
        (["serve", "--redis-url", "http://u:secret@host"], "REDIS_URL must look like redis://"),
        (["serve", "--redis-url", "redis://u:secret@host:none"], "REDIS_URL must look like redis://"),
        (["serve", "--host", "0.0.0.0"], "--insecure-no-auth"),
        (["serve", "--host", "no.such.host.invalid", "--insecure-no-auth"], "no.such.host.invalid"),
        (["serve", "--fd", "99"], "--fd 99 is no socket"),
        (["demo", "--port", "-1"], "port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_line_and_exit_code_2(tmp_path: Path, argv: list[str], says: str) -> None:
    done = run(*argv, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("pulseboard: ")
    assert says in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PULSEBOARD_PORT", "x", "port"),
        ("REDIS_URL", "nonsense:secret@", "REDIS_URL must look like"),
        ("REDIS_PORT", "0", "REDIS_PORT must be a number from 1 to 65535"),
    ],
)
def test_a_wrong_variable_is_one_line_and_exit_code_2(tmp_path: Path, name: str, value: str, says: str) -> None:
    done = run("serve", cwd=tmp_path, env={name: value})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "prot is no option of Pulseboard"),
        ("port = ", "pulseboard.toml cannot be read: Invalid value (at "),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "pulseboard.toml").write_text(text)
    done = run("serve", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line


def test_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("serve", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"pulseboard: 127.0.0.1:{port} is taken by another program; choose another with --port\n"


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_help_names_every_option_with_its_variable(tmp_path: Path, command: str) -> None:
    done = run(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    text = re.sub(r"[\s│]+", " ", done.stdout)
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} " in text
        assert ("REDIS_URL" if name == "redis_url" else f"PULSEBOARD_{name.upper()}") in text
    assert "8765" in text


def test_a_bare_command_shows_its_help_and_the_version_is_told(tmp_path: Path) -> None:
    assert "serve" in run(cwd=tmp_path).stdout
    assert re.fullmatch(r"pulseboard \d+\.\d+\.\d+\n", run("--version", cwd=tmp_path).stdout)


def test_without_the_extras_it_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['typer'] = None; from pulseboard.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "pulseboard: the command needs typer: pip install 'pulseboard[demo]' brings it\n"


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pulseboard.toml").write_text('port = 1\nping_s = 1\nheartbeat_s = 1\nexpect = ["a", "b"]\n')
    monkeypatch.setenv("PULSEBOARD_PORT", "2")
    monkeypatch.setenv("PULSEBOARD_PING_S", "2")
    settings = Settings.load(port=3, ping_s=None, heartbeat_s=None)
    assert (settings.port, settings.ping_s, settings.heartbeat_s) == (3, 2.0, 1.0)
    assert (settings.expect, settings.host) == (("a", "b"), "127.0.0.1")


def test_a_dotenv_file_is_read_but_does_not_win_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PULSEBOARD_PORT=from-the-file\n")
    assert "from-the-file" in run("serve", cwd=tmp_path).stderr
    assert "from-outside" in run("serve", cwd=tmp_path, env={"PULSEBOARD_PORT": "from-outside"}).stderr


def children_of(pid: int) -> set[int]:
    """Return every living descendant of a process."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def test_demo_shows_three_services_at_work_and_ends_without_a_trace(
    tmp_path: Path, address: RedisAddress, namespace: str, prefix: str
) -> None:
    env = {
        **os.environ,
        "REDIS_URL": address.url,
        "PULSEBOARD_NAMESPACE": namespace,
        "PULSEBOARD_CHANNEL_PREFIX": prefix,
    }
    argv = [*PULSEBOARD, "demo", "--port", "0"]
    with (
        (tmp_path / "stderr").open("w") as log,
        subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as demo,
    ):
        assert demo.stdout is not None
        url = next(match[1] for line in demo.stdout if (match := re.search(r"board\s+(http\S+)/services", line)))

        def read() -> dict[str, dict[str, object]]:
            with urllib.request.urlopen(f"{url}/api/services/status", timeout=PATIENCE_S) as answer:  # noqa: S310
                statuses: dict[str, dict[str, object]] = json.load(answer)
                return statuses

        try:
            wait_until(lambda: all(status.get("done") for status in read().values()))
            assert set(read()) == {"balanceSync", "accountDiscovery", "accountEnrichment"}
            before = read()
            wait_until(lambda: all(status != before[name] for name, status in read().items()))
            family = children_of(demo.pid)
            assert len(family) == 5, "the server, the bank and three services"
        finally:
            demo.send_signal(signal.SIGINT)
            demo.stdout.read()
            code = demo.wait(PATIENCE_S)
    assert code == 0, (tmp_path / "stderr").read_text()
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in family))
