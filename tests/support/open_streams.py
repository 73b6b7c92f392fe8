"""A crowd of readers in one thread: some read all, some a little at a time, some nothing."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator

SIP_BYTES = 64
SIP_EVERY_S = 0.02


class Reader:
    """One connection and what came on it."""

    def __init__(self, port: int, path: str, *, buffer_bytes: int | None = None) -> None:
        self.sock = socket.socket()
        if buffer_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.sock.setblocking(False)
        self.data = b""
        self.ended = False
        self.broken = False

    def read(self, most: int) -> None:
        """Take what is there."""
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return
        except OSError:
            data, self.broken = b"", True
        self.data += data
        self.ended = not data

    @property
    def retry_ms(self) -> int | None:
        """When it was last told to come back."""
        found = re.findall(rb"^retry: (\d+)$", self.data, re.MULTILINE)
        return int(found[-1]) if found else None


class Crowd:
    """All of them. `frozen` read nothing and `slow` next to nothing; their own buffers are small, so the server's fill."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self.slow: list[Reader] = []
        self.frozen: list[Reader] = []
        self._selector = selectors.DefaultSelector()
        self._sipped = 0.0

    def join(self, port: int, path: str, count: int) -> None:
        for _ in range(count):
            reader = Reader(port, path)
            self.readers.append(reader)
            self._selector.register(reader.sock, selectors.EVENT_READ, reader)

    def join_slow(self, port: int, path: str, count: int) -> None:
        self.slow += [Reader(port, path, buffer_bytes=4_096) for _ in range(count)]

    def join_frozen(self, port: int, path: str, count: int) -> None:
        self.frozen += [Reader(port, path, buffer_bytes=4_096) for _ in range(count)]

    def read_until(self, holds: Callable[[], object], what: str, within_s: float = 20.0) -> None:
        """Read, each in its way, until something holds."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, what
            for key, _ in self._selector.select(0.02):
                reader: Reader = key.data
                reader.read(65_536)
                if reader.ended:
                    self._selector.unregister(reader.sock)
            if time.monotonic() - self._sipped > SIP_EVERY_S:
                self._sipped = time.monotonic()
                for each in self.slow:
                    if not each.ended:
                        each.read(SIP_BYTES)

    def close(self) -> None:
        for each in (*self.readers, *self.slow, *self.frozen):
            each.sock.close()
        self._selector.close()


@contextlib.contextmanager
def gather() -> Iterator[Crowd]:
    """Have a crowd, and let it go."""
    crowd = Crowd()
    try:
        yield crowd
    finally:
        crowd.close()
