"""The environment of a benchmark (Valkey, server, Chromium), and the output of results."""

from __future__ import annotations

import math
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from playwright.sync_api import sync_playwright

from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.process import spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import Page

    from pulseboard.bus.connection.address import RedisAddress

START_S = 30.0


class RunningServer(NamedTuple):
    """A ready server, its Redis and its process id."""

    address: RedisAddress
    port: int
    pid: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def run_server(*options: str) -> Iterator[RunningServer]:
    """Run a Valkey, and `pulseboard serve` with it, as two processes."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder,
        EmbeddedValkey(Path(folder), port=free_port()) as valkey,
    ):
        port = free_port()
        argv = [sys.executable, "-m", "pulseboard", "serve", "--quiet", "--port", str(port)]
        with run_program([*argv, "--redis-url", valkey.address.url, *options], port) as pid:
            yield RunningServer(valkey.address, port, pid)


@contextmanager
def run_program(argv: Sequence[str], port: int) -> Iterator[int]:
    """Run a server program while the context is open; yield its process id when it is ready."""
    with tempfile.TemporaryFile() as log:
        server = spawn(argv, stdout=subprocess.DEVNULL, stderr=log)
        try:
            if not wait_until_ready(port, server):
                text = os.pread(log.fileno(), 100_000, 0).decode()
                sys.exit(f"the server did not become ready: {text}")
            yield server.pid
        finally:
            server.terminate()
            server.wait()


def wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> bool:
    """Wait until `/readyz` succeeds; return False when the server ends or 30 s have passed."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return True
        except OSError:
            time.sleep(0.02)
    return False


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    """Open a page in a headless Chromium."""
    program = (
        os.environ.get("PULSEBOARD_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("google-chrome")
    )
    if not program:
        sys.exit("no Chromium found: set PULSEBOARD_CHROMIUM to the path of one")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        yield page


def print_head(text: str | None) -> None:
    """Print the question and method from a module's docstring, and the machine's properties."""
    print((text or "").strip())
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} cores, load before: {load}\n",
        flush=True,
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with the first column aligned left and the others right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first, *rest = (
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())
    sys.stdout.flush()


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
