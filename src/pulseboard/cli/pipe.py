"""Detecting a closed output pipe while waiting, instead of at the next printed line."""

import select
import sys


def check_output_pipe() -> None:
    """Raise BrokenPipeError if the reader of stdout has closed it."""
    if sys.platform == "win32":
        return  # Windows has no poll; the next write fails instead
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        raise BrokenPipeError
