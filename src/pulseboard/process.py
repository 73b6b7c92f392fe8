"""Child processes that die with their parent, also after `kill -9` of the parent.

On Linux the kernel kills the child (`PR_SET_PDEATHSIG`, prctl(2)). On other systems, and off the
main thread, a shell waits beside the child on a pipe that only the parent holds open. This module
neither restarts a child nor relays its output.
Invariant: no child outlives its parent.
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

# $1: the descriptor of the pipe, $2: the signal, the rest: the program. The watcher stays in the
# child's process group, so the system cannot reuse the group's id while it waits. It closes the
# child's streams, so that their readers see the end of the child. `exec` keeps the pid, so the
# spawned process is the program.
_WATCHER_SCRIPT = """
fd=$1 sig=$2; shift 2
(trap '' HUP INT TERM; read -r _ <"/dev/fd/$fd"; kill -s "$sig" -- "-$$") \
  </dev/null >/dev/null 2>&1 &
exec "$@"
"""


class _Tether(NamedTuple):
    """How a child is bound to this process.

    `argv`: the program to start, under the watcher if there is one. `preexec`: runs in the child
    before the program. `pass_fds`: the end of the watcher's pipe that the child inherits.
    `keep_fd`: the end that this process keeps open.
    """

    argv: list[str]
    preexec: Callable[[], None] | None = None
    pass_fds: tuple[int, ...] = ()
    keep_fd: int | None = None

    def attach(self, process: object) -> None:
        """Keep the pipe of the watcher open for as long as `process` is referenced."""
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
    """Start a program in its own session; it receives `death_signal` when this process ends.

    In its own session it does not receive Ctrl-C from a terminal, so the caller must stop it.
    `env` is the whole environment (default: that of this process). Keep the returned object for as
    long as the child should live. Raises OSError if the program cannot be started.
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
        tether.attach(process)
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
    """Do the same as `spawn` in the running event loop.

    `limit` bounds the buffered bytes of each piped stream.
    """
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
        tether.attach(process)
    return process


@contextmanager
def _tether(argv: Sequence[str], death_signal: signal.Signals) -> Iterator[_Tether]:
    # For the kernel the forking *thread* is the parent: the child would die with that thread.
    if _LINUX and threading.current_thread() is threading.main_thread():
        yield _Tether(list(argv), preexec=_make_preexec(death_signal))
        return
    if shutil.which(argv[0]) is None:  # else the shell starts, then fails
        raise FileNotFoundError(f"no such program: {argv[0]}")
    read_end, write_end = os.pipe()
    try:
        watched = [
            "/bin/sh",
            "-c",
            _WATCHER_SCRIPT,
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


def _make_preexec(death_signal: signal.Signals) -> Callable[[], None]:
    # Load the library before the fork: the child must not import between fork and exec.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def bind() -> None:
        if prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # the parent died before prctl(), so no signal will come
            os.kill(os.getpid(), signal.SIGKILL)

    return bind
