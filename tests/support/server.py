"""A server on a real socket with a real Redis, and raw clients that read its bytes."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx
import pytest
import redis
import uvicorn

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.server.app import create_app
from pulseboard.server.hosting.socket import bind
from pulseboard.server.runtime import Runtime
from pulseboard.server.settings import Settings
from pulseboard.server.streaming.uvicorn_protocol import StreamProtocol

LIMIT_S = 10.0
# Without it each client would load all certificates of the machine.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Message:
    """One SSE block: its raw fields, or the text of a comment."""

    def __init__(self, block: bytes) -> None:
        lines = block.decode().split("\n")
        self.comment = lines[0].removeprefix(":").strip() if lines[0].startswith(":") else None
        fields = {} if self.comment is not None else dict(line.split(": ", 1) for line in lines)
        self.id = fields.get("id")
        self.event = fields.get("event")
        self.retry = fields.get("retry")
        self.data: Any = json.loads(fields["data"]) if "data" in fields else None

    def __repr__(self) -> str:
        return f"<{self.comment or self.event} {self.id} {self.data}>"


class Stream:
    """A raw HTTP connection, which receives only as fast as the test reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._chunked = False
        self._body = b""
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(
        cls,
        port: int,
        path: str = "/api/stream",
        *,
        method: str = "GET",
        version: str = "1.1",
        head: str = "",
    ) -> Self:
        self = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
        await self.request(path, method=method, version=version, head=head)
        return self

    async def request(
        self, path: str, *, method: str = "GET", version: str = "1.1", head: str = ""
    ) -> None:
        self._writer.write(
            f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{head}\r\n".encode()
        )
        await self.read_head()

    async def read_head(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-2])
        }
        self._chunked = self.headers.get("transfer-encoding") == "chunked"

    async def read(self) -> bytes:
        """Return the next piece of the body; empty at its end."""
        async with asyncio.timeout(LIMIT_S):
            if not self._chunked:
                return await self._reader.read(65_536)
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = await self._reader.readexactly(size + 2)
            assert data.endswith(b"\r\n")
            return data[:-2]

    async def read_body(self) -> bytes:
        """Return the whole body of a response with a Content-Length."""
        async with asyncio.timeout(LIMIT_S):
            return await self._reader.readexactly(int(self.headers["content-length"]))

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._writer.write(data)

    async def next(self, *, comments: bool = False) -> Message:
        """Return the next message; raise EOFError at the end of the stream."""
        while True:
            block, found, rest = self._body.partition(b"\n\n")
            if found:
                self._body = rest
                message = Message(block)
                if comments or message.comment is None:
                    return message
                continue
            data = await self.read()
            if not data:
                assert not self._body, "the stream ended inside a message"
                raise EOFError
            self._body += data

    async def until(self, condition: Callable[[Message], bool]) -> Message:
        """Return the next message that fulfils a condition."""
        while True:
            message = await self.next()
            if condition(message):
                return message

    async def rest(self) -> list[Message]:
        """Return all messages until the end of the stream."""
        messages = []
        with contextlib.suppress(EOFError):
            while True:
                messages.append(await self.next())
        return messages

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Reset the connection, as happens when the machine of a client crashes."""
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class Server:
    """A server in a separate thread with its own event loop."""

    def __init__(self, settings: Settings, http: Any = StreamProtocol) -> None:
        self.runtime = Runtime(settings)
        self._sock = bind("127.0.0.1", 0)
        self.port: int = self._sock.getsockname()[1]
        config = uvicorn.Config(
            create_app(self.runtime),
            http=http,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._sock],), daemon=True)
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=LIMIT_S, verify=_NO_TLS
        )
        self.get = self._client.get
        self.request = self._client.request

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()
        self._server.should_exit = True
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "open streams keep the server from ending"
        self._sock.close()

    @property
    def connections(self) -> set[Any]:
        """All open connections, including those without a stream."""
        return self._server.server_state.connections

    def health(self) -> dict[str, Any]:
        """Return the document of /healthz."""
        document: dict[str, Any] = self.get("/healthz").json()
        return document

    def is_ready(self) -> bool:
        """Return whether /readyz answers 200."""
        return self.get("/readyz").status_code == 200

    async def open(self, path: str = "/api/stream", **more: Any) -> Stream:
        """Open a stream."""
        return await Stream.open(self.port, path, **more)


async def eventually(condition: Callable[[], object], *, within_s: float = LIMIT_S) -> None:
    """Poll until a condition holds."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


ServeFixture = Callable[..., Server]
EXPECTED = ("balance-sync", "account-discovery", "account-enrichment")


@pytest.fixture
def serve(namespace: str, prefix: str) -> Iterator[ServeFixture]:
    """Start servers in the namespace of the test; they are stopped when the test ends."""
    with contextlib.ExitStack() as stack:

        def start(address: RedisAddress, *, http: Any = StreamProtocol, **options: Any) -> Server:
            common = {
                "namespace": namespace,
                "channel_prefix": prefix,
                "expect": EXPECTED,
                "redis_url": address.url,
            }
            return stack.enter_context(Server(Settings.load(**(common | options)), http))

        yield start


@pytest.fixture(params=["ours", "h11"])
def http(request: pytest.FixtureRequest) -> Any:
    """Run the test with our protocol, whose streams write to the socket directly, and with h11."""
    return StreamProtocol if request.param == "ours" else "h11"


@pytest.fixture
async def server(serve: ServeFixture, address: RedisAddress) -> Server:
    """Start a server and wait until it is ready."""
    server = serve(address)
    await eventually(server.is_ready)
    return server


@pytest.fixture
async def any_server(serve: ServeFixture, address: RedisAddress, http: Any) -> Server:
    """Start a server with each HTTP protocol and wait until it is ready."""
    server = serve(address, http=http)
    await eventually(server.is_ready)
    return server


class ExternalPublisher:
    """A program with a Redis client that publishes in the shape of the status stream."""

    def __init__(self, raw: redis.Redis, prefix: str) -> None:
        self._raw, self._prefix = raw, prefix

    def __call__(self, service: str, **status: Any) -> dict[str, Any]:
        update = {"service": service, "timestamp": 1_765_584_000_000, "status": status}
        self._raw.publish(self._prefix + service, json.dumps(update))
        return update


@pytest.fixture
def publish(raw: redis.Redis, prefix: str) -> ExternalPublisher:
    return ExternalPublisher(raw, prefix)


class LogPublisher:
    """A program with a Redis client that publishes log lines."""

    def __init__(self, raw: redis.Redis, prefix: str) -> None:
        self._raw = raw
        self._prefix = prefix

    def __call__(
        self, message: str, *, service: str = "report", level: str = "info", **more: Any
    ) -> None:
        line = {
            "service": service,
            "level": level,
            "message": message,
            "timestamp": 1_765_584_000_000,
        } | more
        self._raw.publish(f"{self._prefix}logs", json.dumps(line))


@pytest.fixture
def publish_log(raw: redis.Redis, prefix: str) -> LogPublisher:
    return LogPublisher(raw, prefix)


def open_frozen(port: int, path: str = "/api/stream") -> socket.socket:
    """Open a stream and never read it.

    The socket buffer of this client is small, so that the buffers of the server fill.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


def publish_large(raw: redis.Redis, prefix: str, count: int, first: int = 0) -> None:
    with raw.pipeline(transaction=False) as pipeline:
        for n in range(first, first + count):
            status = {"n": n, "text": "x" * 30_000}
            update = {"service": "balance-sync", "timestamp": 1, "status": status}
            pipeline.publish(prefix + "balance-sync", json.dumps(update))
        pipeline.execute()
