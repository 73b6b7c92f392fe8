"""Whether anybody reads what is printed: one who waits for what comes would else learn it only with the next line."""

import select
import sys


def check_reader() -> None:
    """Raise BrokenPipeError when whoever read stdout is gone."""
    if sys.platform == "win32":
        return  # there is no poll, and the next line will tell
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        raise BrokenPipeError
