"""`PauseFlag`: whether the commands `pause` and `resume` have paused a service."""

import threading


class PauseFlag:
    """A flag that the host application polls or waits for.

    No thread can be paused from outside.
    """

    def __init__(self) -> None:
        self._resumed = threading.Event()
        self._resumed.set()

    def __bool__(self) -> bool:
        """Return whether the service is paused."""
        return not self._resumed.is_set()

    def pause(self) -> None:
        self._resumed.clear()

    def resume(self) -> None:
        self._resumed.set()

    def wait_resumed(self, timeout_s: float | None) -> bool:
        """Wait until the service is not paused; return False if `timeout_s` passed before that."""
        return self._resumed.wait(timeout_s)

    def for_forked_child(self) -> "PauseFlag":
        """Return a flag in the same state: a thread of the parent may hold the lock of this one."""
        flag = PauseFlag()
        if self:
            flag.pause()
        return flag
