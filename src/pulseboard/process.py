"""Child processes that die with their parent, however the parent ends, `kill -9` included.

On Linux the kernel does it (`PR_SET_PDEATHSIG`, prctl(2)); elsewhere, and off the main thread, a few lines of `/bin/sh`
wait beside the child on a pipe that only the parent holds open. Nothing is restarted or relayed here.
Invariant: no code path leaves an orphan behind.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, TypeAlias

__all__ = ["spawn", "spawn_async"]

Stream: TypeAlias = int | IO[Any] | None

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LINUX = sys.platform.startswith("linux")
_LINE_LIMIT_BYTES = 64 * 1024

# $1: the descriptor of the pipe, $2: the signal, the rest: the program. The watcher stays in the child's process group,
# so the group's id cannot be given to strangers while it waits; it lets go of the child's streams, so their readers see
# the end of the child. `exec` keeps the pid: the process that was spawned is the program itself.
_WATCHED = """
fd=$1 sig=$2; shift 2
(trap '' HUP INT TERM; read -r _ <"/dev/fd/$fd"; kill -s "$sig" -- "-$$") </dev/null >/dev/null 2>&1 &
exec "$@"
"""


class _Tether(NamedTuple):
    """How one child is bound to this process."""

    argv: list[str]
    preexec: Callable[[], None] | None = None
    pass_fds: tuple[int, ...] = ()
    keep_fd: int | None = None

    def hold(self, process: object) -> None:
        """Keep the watcher waiting as long as `process` is referenced; a dead child's watcher then goes as well."""
        if self.keep_fd is not None:
            weakref.finalize(process, os.close, self.keep_fd)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Sequence[int] = (),
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that gets `death_signal` when this process ends.

    A session of its own means that a terminal's Ctrl-C does not reach it: stopping it in order is the caller's part.
    `env` is the whole environment (default: this process's). Keep the returned object as long as the child shall live.
    Raises OSError when the program cannot be started.
    """
    with _tether(argv, death_signal) as tether:
        process = subprocess.Popen(
            tether.argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=(*pass_fds, *tether.pass_fds),
            preexec_fn=tether.preexec,
        )
        tether.hold(process)
    return process


async def spawn_async(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    pass_fds: Sequence[int] = (),
    death_signal: signal.Signals = signal.SIGKILL,
    limit: int = _LINE_LIMIT_BYTES,
) -> asyncio.subprocess.Process:
    """Do what `spawn` does, for the running event loop; `limit` bounds the bytes buffered of each piped stream."""
    with _tether(argv, death_signal) as tether:
        process = await asyncio.create_subprocess_exec(
            *tether.argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            limit=limit,
            start_new_session=True,
            pass_fds=(*pass_fds, *tether.pass_fds),
            preexec_fn=tether.preexec,
        )
        tether.hold(process)
    return process


@contextmanager
def _tether(argv: Sequence[str], death_signal: signal.Signals) -> Iterator[_Tether]:
    # The kernel counts the forking *thread* as the parent: a child forked off the main thread would die with it.
    if _LINUX and threading.current_thread() is threading.main_thread():
        yield _Tether(list(argv), preexec=_ask_kernel(death_signal))
        return
    if shutil.which(argv[0]) is None:  # the shell would start, and only then fail
        raise FileNotFoundError(f"no such program: {argv[0]}")
    read_end, write_end = os.pipe()
    try:
        watched = [
            "/bin/sh",
            "-c",
            _WATCHED,
            "sh",
            str(read_end),
            death_signal.name.removeprefix("SIG"),
            *argv,
        ]
        yield _Tether(watched, pass_fds=(read_end,), keep_fd=write_end)
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)


def _ask_kernel(death_signal: signal.Signals) -> Callable[[], None]:
    # Looked up before the fork: between fork and exec nothing may be imported or loaded.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def bind() -> None:
        if prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died between the fork and the prctl: no signal will come
            os.kill(os.getpid(), signal.SIGKILL)

    return bind
