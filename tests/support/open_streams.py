"""Many stream clients in one thread: some read all, some slowly, some nothing."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator

SLOW_READ_BYTES = 64
SLOW_READ_INTERVAL_S = 0.02


class StreamClient:
    """One connection and the data received on it."""

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

    def read(self, max_bytes: int) -> None:
        """Read at most `max_bytes` of the available data, without waiting."""
        try:
            data = self.sock.recv(max_bytes)
        except BlockingIOError:
            return
        except OSError:
            data, self.broken = b"", True
        self.data += data
        self.ended = not data

    @property
    def retry_ms(self) -> int | None:
        """The last reconnection delay that the server sent."""
        found = re.findall(rb"^retry: (\d+)$", self.data, re.MULTILINE)
        return int(found[-1]) if found else None


class ClientSet:
    """Clients of one server: `fast` read all, `slow` a few bytes at a time, `frozen` nothing.

    The socket buffers of slow and frozen clients are small, so that those of the server fill.
    """

    def __init__(self) -> None:
        self.fast: list[StreamClient] = []
        self.slow: list[StreamClient] = []
        self.frozen: list[StreamClient] = []
        self._selector = selectors.DefaultSelector()
        self._last_slow_read = 0.0

    def add(self, port: int, path: str, count: int) -> None:
        for _ in range(count):
            client = StreamClient(port, path)
            self.fast.append(client)
            self._selector.register(client.sock, selectors.EVENT_READ, client)

    def add_slow(self, port: int, path: str, count: int) -> None:
        self.slow += [StreamClient(port, path, buffer_bytes=4_096) for _ in range(count)]

    def add_frozen(self, port: int, path: str, count: int) -> None:
        self.frozen += [StreamClient(port, path, buffer_bytes=4_096) for _ in range(count)]

    def read_until(
        self, condition: Callable[[], object], failure: str, within_s: float = 20.0
    ) -> None:
        """Read with the fast and slow clients until a condition holds."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, failure
            for key, _ in self._selector.select(0.02):
                client: StreamClient = key.data
                client.read(65_536)
                if client.ended:
                    self._selector.unregister(client.sock)
            if time.monotonic() - self._last_slow_read > SLOW_READ_INTERVAL_S:
                self._last_slow_read = time.monotonic()
                for each in self.slow:
                    if not each.ended:
                        each.read(SLOW_READ_BYTES)

    def close(self) -> None:
        for each in (*self.fast, *self.slow, *self.frozen):
            each.sock.close()
        self._selector.close()


@contextlib.contextmanager
def open_client_set() -> Iterator[ClientSet]:
    """Yield an empty set of clients; close all of them at the end."""
    clients = ClientSet()
    try:
        yield clients
    finally:
        clients.close()
