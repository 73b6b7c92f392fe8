"""`pulseboard serve` as a separate process, forked from a process that has imported it.

A fork costs a tenth of the start of a new interpreter.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Self

from tests.support.valkey import free_port

import pulseboard.cli.serve  # noqa: F401 - forked processes need it
from pulseboard.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess

    from pulseboard.bus.connection.address import RedisAddress

START_S = 30.0

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["pytest", __name__])


class ServerProcess:
    """One server, which keeps its port when it is started again."""

    def __init__(self, address: RedisAddress, namespace: str, *options: str) -> None:
        self.port = free_port()
        self._options = [
            "--port",
            str(self.port),
            "--redis-url",
            address.url,
            "--namespace",
            namespace,
        ]
        self._options += ["--channel-prefix", f"{namespace}:", *options]
        self._process: ForkServerProcess | None = None
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed in close()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/services"

    @property
    def log(self) -> str:
        """The output so far."""
        return self._log.read().decode()

    def start(self) -> Self:
        """Start the server and wait until it answers."""
        arguments = (["serve", *self._options], self._log.name, dict(os.environ))
        self._process = _forks.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        self._wait_for("healthz")
        return self

    def wait_until_ready(self) -> None:
        """Wait until the server reads Redis and receives external messages."""
        self._wait_for("readyz")

    def stop(self) -> None:
        """Stop the server gracefully, as a deployment does."""
        assert self._end(signal.SIGTERM) == 0, self.log

    def kill(self) -> None:
        """Kill the server without a graceful stop."""
        assert self._end(signal.SIGKILL) == -signal.SIGKILL

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the server within the context; its connections stay open."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server if it still runs, and remove its log."""
        if self._process is not None:
            self._end(signal.SIGKILL)
        self._log.close()

    def _end(self, by: signal.Signals) -> int | None:
        self._signal(by)
        process, self._process = self._process, None
        assert process is not None
        process.join(10)
        return process.exitcode

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, which)

    def _wait_for(self, path: str) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5):
                    return
            except OSError as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                assert self._process is not None
                assert self._process.is_alive(), f"the server ended unexpectedly: {self.log}"
                assert time.monotonic() < deadline, f"no 200 from /{path} within {START_S:.0f} s"
                time.sleep(0.02)


def _serve(argv: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(fd, stream.fileno())
    sys.exit(run(argv))
