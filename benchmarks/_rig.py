"""What a benchmark measures on: a Valkey, a server and a Chromium of its own, and the tables it prints."""

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


class Rig(NamedTuple):
    """A server that sees its Redis. `pid` is the server's."""

    address: RedisAddress
    port: int
    pid: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def rig(*options: str) -> Iterator[Rig]:
    """Run a Valkey and `pulseboard serve` on it, each a process of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder,
        EmbeddedValkey(Path(folder), port=free_port()) as valkey,
    ):
        port = free_port()
        argv = [sys.executable, "-m", "pulseboard", "serve", "--quiet", "--port", str(port)]
        with running([*argv, "--redis-url", valkey.address.url, *options], port) as pid:
            yield Rig(valkey.address, port, pid)


@contextmanager
def running(argv: Sequence[str], port: int) -> Iterator[int]:
    """Run a server program until left, and yield its process id once it is ready."""
    with tempfile.TemporaryFile() as log:
        server = spawn(argv, stdout=subprocess.DEVNULL, stderr=log)
        try:
            if not is_ready(port, server):
                sys.exit(
                    f"the server did not become ready: {os.pread(log.fileno(), 100_000, 0).decode()}"
                )
            yield server.pid
        finally:
            server.terminate()
            server.wait()


def is_ready(port: int, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the server sees Redis; False when it ended or took too long."""
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
    """Open a page in a Chromium without a window."""
    program = (
        os.environ.get("PULSEBOARD_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("google-chrome")
    )
    if not program:
        sys.exit("no Chromium: name one in PULSEBOARD_CHROMIUM")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        yield page


def print_head(text: str | None) -> None:
    """Print the question and method, which are the module's own words, and what it ran on."""
    print((text or "").strip())
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(
        f"\nPython {platform.python_version()}, {os.cpu_count()} cores, load before: {load}\n",
        flush=True,
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
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
    """Return the processor time that a process has used so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
