"""Reads the memory, descriptors, threads and children of a process from proc(5)."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class ProcessUsage(NamedTuple):
    """The resources of a process at one moment."""

    rss_mb: float
    descriptors: int
    threads: int


def read_usage(pid: int) -> ProcessUsage:
    """Return the resources of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return ProcessUsage(
        int(status.partition("VmRSS:")[2].split()[0]) / 1_024,
        sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        int(status.partition("Threads:")[2].split()[0]),
    )


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield (process id, command line) of the children of a process, recursively."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
        line = (
            Path(f"/proc/{child}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
        yield int(child), line
        yield from descendants(int(child))


def kernel_tcp_mb() -> float:
    """Return the kernel memory for all TCP sockets of this machine or container.

    No process's resident memory includes it.
    """
    tcp = next(
        line
        for line in Path("/proc/net/sockstat").read_text(encoding="ascii").splitlines()
        if line.startswith("TCP:")
    )
    return int(tcp.split()[-1]) * resource.getpagesize() / 1_048_576
