"""The embedded Valkey: it is private, ends with its parent, and restarts after a crash."""

import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from tests.support.valkey import free_port

from pulseboard import process
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.probe import answers
from pulseboard.cli import redis as cli_redis
from pulseboard.cli.redis import provide_redis
from pulseboard.embedded.valkey import EmbeddedValkey, find_binary
from pulseboard.server.settings import Settings
from pulseboard.wire.errors import ConfigError

HOLDER = """
import sys, time
from pathlib import Path
from pulseboard.embedded.valkey import EmbeddedValkey
with EmbeddedValkey(Path(sys.argv[1]), port=int(sys.argv[2])) as valkey:
    try:
        print(valkey.pid, flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        import redis
        print(redis.Redis(port=int(sys.argv[2])).ping(), flush=True)
"""


def until(condition: Callable[[], object], failure: str, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")


def start_holder(folder: Path, port: int) -> tuple[subprocess.Popen[str], int]:
    """Run an embedded Valkey in another program, until the input of that program ends."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    return program, int(program.stdout.readline())


def test_server_answers_inside_the_context_and_stops_at_its_end(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data", port=free_port()) as valkey:
        with redis.Redis(port=valkey.address.port) as client:
            assert client.ping()
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            assert client.config_get("appendonly")["appendonly"] == "yes"
        pid = valkey.pid
    assert pid is not None
    assert not is_running(pid)
    valkey.stop()


def test_data_survives_a_restart(tmp_path: Path) -> None:
    port = free_port()
    for expected in (None, b"1"):
        with EmbeddedValkey(tmp_path, port=port), redis.Redis(port=port) as client:
            assert client.get("kept") == expected
            client.set("kept", 1)


def test_data_directory_is_accessible_to_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    folder.mkdir(parents=True, mode=0o755)  # as an earlier `mkdir -p` of the user makes it
    with EmbeddedValkey(folder, port=free_port()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_server_ends_with_its_parent(tmp_path: Path, kind: signal.Signals) -> None:
    program, pid = start_holder(tmp_path, free_port())
    with program:
        program.send_signal(kind)
        program.wait()
        until(lambda: not is_running(pid), "the server outlived its parent")


def test_ctrl_c_reaches_the_program_and_not_its_valkey(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole foreground process group.

    The program still needs its Redis for its graceful stop.
    """
    program, pid = start_holder(tmp_path, free_port())
    assert program.stdout is not None
    assert os.getpgid(pid) == pid != os.getpgid(program.pid)
    with program:
        program.send_signal(signal.SIGINT)
        assert program.stdout.readline() == "True\n"
        program.wait(10)
    assert not is_running(pid)


def test_server_restarts_with_its_data_after_a_crash(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        EmbeddedValkey(tmp_path, port=free_port()) as valkey,
        redis.Redis(port=valkey.address.port) as client,
    ):
        for n in range(2):
            client.set("n", n)
            pid = valkey.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

            def is_back(n: int = n, pid: int = pid) -> bool:
                try:
                    return valkey.pid != pid and client.get("n") == str(n).encode()
                except redis.ConnectionError:
                    return False

            until(is_back, "the server did not restart")
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        assert "exit code -9" in caplog.records[0].getMessage()


def test_stop_during_a_restart_leaves_no_process(tmp_path: Path) -> None:
    """The restart after a crash could happen after the stop, and its process stayed."""
    started: list[int] = []
    real = process.spawn

    def slow(*args: object, **more: object) -> subprocess.Popen[bytes]:
        child = real(*args, **more)  # type: ignore[arg-type]
        started.append(child.pid)
        if len(started) == 2:
            in_restart.set()
            may_go_on.wait(5)
        return child

    in_restart, may_go_on = threading.Event(), threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulseboard.embedded.valkey.spawn", slow)
        valkey = EmbeddedValkey(tmp_path, port=free_port())
        valkey.start()
        os.kill(started[0], signal.SIGKILL)
        assert in_restart.wait(5)
        stopping = threading.Thread(target=valkey.stop)
        stopping.start()
        may_go_on.set()
        stopping.join(10)
    assert [pid for pid in started if is_running(pid)] == []


def test_other_server_at_the_port_is_not_mistaken_for_ours(tmp_path: Path) -> None:
    """Of two commands started together, the second received a reply of the first one's server.

    It then tried to start its own server for ever.
    """
    with EmbeddedValkey(tmp_path / "one", port=free_port()) as first:
        second = EmbeddedValkey(tmp_path / "two", port=first.address.port)
        with pytest.raises(ConfigError, match=r"did not start: .*Failed listening on port"):
            second.start()
        assert first.pid is not None
        assert is_running(first.pid)


def test_only_one_of_several_concurrent_starts_on_one_directory_succeeds(tmp_path: Path) -> None:
    port = free_port()
    valkeys = [EmbeddedValkey(tmp_path, port=port) for _ in range(3)]
    outcomes: list[str] = []

    def start(valkey: EmbeddedValkey) -> None:
        try:
            valkey.start()
            outcomes.append("started")
        except ConfigError:
            outcomes.append("refused")

    threads = [threading.Thread(target=start, args=(valkey,)) for valkey in valkeys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    try:
        assert sorted(outcomes) == ["refused", "refused", "started"]
        with redis.Redis(port=port) as client:
            assert client.set("a", 1)
    finally:
        for valkey in valkeys:
            valkey.stop()


def test_impossible_data_directory_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be started"):
        EmbeddedValkey(tmp_path / "file" / "data", port=free_port()).start()


def test_error_on_a_platform_without_a_binary_suggests_redis_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "sparc")
    with pytest.raises(ConfigError, match="set REDIS_URL"):
        find_binary()


class TestProvideRedis:
    """`provide_redis`: the configured Redis, the running Redis, or an embedded Valkey."""

    @pytest.fixture
    def port(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """Replace the default port by an unused one."""
        port = free_port()
        monkeypatch.setattr("pulseboard.bus.connection.address.DEFAULT_PORT", port)
        # The class has the old port as the default of a parameter.
        real = EmbeddedValkey
        monkeypatch.setattr(cli_redis, "EmbeddedValkey", lambda folder: real(folder, port=port))
        return port

    def test_embedded_valkey_starts_without_configuration_and_without_a_running_redis(
        self, port: int, tmp_path: Path
    ) -> None:
        with provide_redis(Settings.load(data_dir=tmp_path)) as (settings, description):
            assert settings.redis_url == f"redis://127.0.0.1:{port}"
            assert description.startswith(f"redis://127.0.0.1:{port} (embedded Valkey")
            assert str(tmp_path) in description
            with redis.Redis(port=port) as client:
                assert client.ping()
        assert not answers(RedisAddress(host="127.0.0.1", port=port))

    def test_running_redis_at_the_default_port_is_used(self, port: int, tmp_path: Path) -> None:
        with (
            EmbeddedValkey(tmp_path / "running", port=port),
            provide_redis(Settings.load(data_dir=tmp_path / "embedded")) as (settings, description),
        ):
            assert settings.redis_url == f"redis://localhost:{port}"
            assert "found there" in description
            assert not (tmp_path / "embedded").exists()

    @pytest.mark.parametrize(
        ("name", "value", "url"),
        [
            (
                "REDIS_URL",
                "redis://:geheim@redis.invalid:7000/3",
                "redis://:***@redis.invalid:7000/3",
            ),
            ("REDIS_HOST", "redis.invalid", "redis://redis.invalid:"),
            ("REDIS_PORT", "7001", "redis://localhost:7001"),
        ],
    )
    def test_configured_redis_is_used_even_when_it_does_not_run(
        self,
        port: int,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: str,
        url: str,
    ) -> None:
        monkeypatch.setenv(name, value)
        with provide_redis(Settings.load(data_dir=tmp_path)) as (_, description):
            assert description.startswith(url)
            assert "geheim" not in description
        assert list(tmp_path.iterdir()) == []

    def test_embedded_valkey_stops_when_the_command_fails(self, port: int, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), provide_redis(Settings.load(data_dir=tmp_path)):
            raise ZeroDivisionError
        assert not answers(RedisAddress(host="127.0.0.1", port=port))

    def test_port_used_by_another_program_is_a_config_error(
        self, port: int, tmp_path: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", port)) as other:

            def answer_like_http() -> None:
                connection, _ = other.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            answering = threading.Thread(target=answer_like_http)
            answering.start()
            with (
                pytest.raises(ConfigError, match="does not answer like Redis"),
                provide_redis(Settings.load(data_dir=tmp_path)),
            ):
                pass
            answering.join(5)
