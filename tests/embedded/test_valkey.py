"""The embedded Valkey: what it keeps, how it ends, and which Redis a command takes."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from tests.conftest import free_port, run_valkey

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.probe import answers
from pulseboard.cli import redis as choice
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.server.settings import Settings
from pulseboard.wire.errors import ConfigError

PATIENCE_S = 20.0

PARENT = """
import sys, time
from pathlib import Path
from pulseboard.embedded.valkey import EmbeddedValkey
with EmbeddedValkey(Path(sys.argv[1]), port=int(sys.argv[2])) as valkey:
    print(valkey.pid, flush=True)
    time.sleep(600)
"""


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def client(valkey: EmbeddedValkey) -> redis.Redis:
    return redis.Redis(host=valkey.address.host, port=valkey.address.port, protocol=2)


def is_running(pid: int) -> bool:
    """Say whether a process lives; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path, port=free_port()) as first, client(first) as writer:
        writer.xadd("history", {"n": 1})
    with EmbeddedValkey(tmp_path, port=free_port()) as second, client(second) as reader:
        assert reader.xlen("history") == 1


def test_it_listens_on_loopback_only_and_keeps_its_data_to_its_user(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    with EmbeddedValkey(folder, port=free_port()) as valkey, client(valkey) as reader:
        assert reader.config_get("bind") == {"bind": "127.0.0.1"}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "kill"])
def test_it_dies_with_its_parent_however_that_ends(tmp_path: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", PARENT, str(tmp_path), str(free_port())]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(number)
    wait_until(lambda: not is_running(pid))


def test_it_is_started_again_when_it_crashes_and_still_has_its_data() -> None:
    with run_valkey() as valkey, client(valkey) as reader:
        reader.set("kept", "yes")
        reader.config_set("appendfsync", "always")
        reader.set("kept", "still")
        crashed = valkey.pid
        assert crashed is not None
        os.kill(crashed, signal.SIGKILL)
        wait_until(lambda: valkey.pid != crashed and answers(valkey.address))
        assert reader.get("kept") == b"still"


def test_a_port_that_is_taken_is_an_error_that_says_so(tmp_path: Path) -> None:
    with run_valkey() as other:
        with pytest.raises(ConfigError, match=r"did not start: .*Failed listening on port"):
            EmbeddedValkey(tmp_path, port=other.address.port).start()
        assert answers(other.address)


def test_what_answers_otherwise_than_redis_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port: int = stranger.getsockname()[1]
        with pytest.raises(ConfigError, match="does not answer like Redis; set REDIS_URL"):
            answers(RedisAddress(host="127.0.0.1", port=port), timeout_s=0.2)


class TestWhichRedis:
    """What `provide_redis` takes, with `localhost:6379` standing at a port of the test's own."""

    @pytest.fixture
    def port(self, monkeypatch: pytest.MonkeyPatch) -> int:
        port = free_port()
        guess = RedisAddress(host="127.0.0.1", port=port, given=False)
        monkeypatch.setattr(choice, "EmbeddedValkey", lambda folder: EmbeddedValkey(folder, port=port))
        monkeypatch.setattr(
            Settings,
            "address",
            property(lambda settings: RedisAddress.from_env(url=settings.redis_url) if settings.redis_url else guess),
        )
        return port

    def test_nothing_named_and_nothing_there_starts_one(self, port: int) -> None:
        with choice.provide_redis(Settings()) as (settings, said):
            assert settings.redis_url == f"redis://127.0.0.1:{port}"
            assert f"redis://127.0.0.1:{port} (embedded Valkey, data in " in said
            assert answers(settings.address)
        assert not answers(settings.address)

    def test_one_that_is_there_is_taken_and_left_running(self, port: int) -> None:
        with run_valkey(port) as valkey:
            with choice.provide_redis(Settings()) as (settings, said):
                assert settings.redis_url == f"redis://127.0.0.1:{port}"
                assert "(found there)" in said
            assert answers(valkey.address)

    def test_one_that_was_named_need_not_be_there_and_none_is_started(self, port: int) -> None:
        url = f"redis://u:secret@127.0.0.1:{free_port()}"
        with choice.provide_redis(Settings.load(redis_url=url)) as (settings, said):
            assert "secret" not in said
            assert not answers(RedisAddress(host="127.0.0.1", port=port))
            assert settings.redis_url == url

    def test_it_is_stopped_when_the_command_fails(self, port: int) -> None:
        with contextlib.suppress(ZeroDivisionError), choice.provide_redis(Settings()):
            raise ZeroDivisionError
        assert not answers(RedisAddress(host="127.0.0.1", port=port))
