"""The client of the HTTP API. It turns failed requests into errors with a clear message."""

import os
import re
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from pulseboard.server.version import VERSION
from pulseboard.wire.errors import ConfigError, ServerRefused, ServerUnreachable

ANSWER_S = 10.0
CONNECT_S = 5.0
"""Time limit for a connection. TCP sends a lost first packet again after 1 and 3 s."""
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")

Query = Mapping[str, str | int | None]


class Api:
    """The API of one server; its URL may have a path prefix.

    Requests raise ServerUnreachable if no server answers, and ServerRefused for an error response.
    """

    def __init__(self, server: str) -> None:
        try:
            url = httpx.URL(server if "://" in server else f"http://{server}")
        except httpx.InvalidURL as error:
            raise ConfigError(f"--server must be a URL, not {server[:80]!r}: {error}") from error
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
            raise ConfigError(
                f"--server must be a URL such as http://127.0.0.1:8765, not {server[:80]!r}"
            )
        self.url = str(url.copy_with(username=None, password=None)).rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            headers={"user-agent": f"pulseboard/{VERSION}"},
            # Plain HTTP gets an empty context, because loading the certificates takes 40 ms.
            verify=True if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            # Ignore HTTP_PROXY for a server on this machine: the proxy cannot reach its loopback.
            trust_env=url.host not in ("localhost", "127.0.0.1", "::1"),
            follow_redirects=True,
        )

    async def get(self, path: str, **query: str | int | None) -> bytes:
        """Return the body of the answer to a GET request."""
        with self._transport_errors():
            answer = await self._client.get(path, params=_without_empty(query))
        return _body(answer)

    async def now_ms(self) -> int:
        """Return the time of the board in ms, by the clock of Redis."""
        return int(msgspec.json.decode(await self.get("/healthz"))["now"])

    async def post(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """POST a value as JSON; return the body of the answer."""
        with self._transport_errors():
            answer = await self._client.post(
                path,
                content=msgspec.json.encode(body),
                headers={"content-type": "application/json", **(headers or {})},
            )
        return _body(answer)

    async def lines(self, path: str, **query: str | int | None) -> AsyncGenerator[bytes, None]:
        """Yield each line of an export; raise ServerRefused if the export is incomplete."""
        async with self.open(path, query | {"format": "jsonl"}, silence_s=ANSWER_S) as answer:
            rest, last = b"", b""
            with self._transport_errors():
                try:
                    async for data in answer.aiter_bytes():
                        *complete, rest = (rest + data).split(b"\n")
                        for line in complete:
                            if last:
                                yield last
                            last = line
                except httpx.RemoteProtocolError:
                    # The server could not complete the export: the last line is a problem document.
                    raise _refusal(503, last) from None
            if last:
                yield last

    @asynccontextmanager
    async def open(
        self, path: str, query: Query, *, silence_s: float
    ) -> AsyncGenerator[httpx.Response, None]:
        """Open an answer that is read piece by piece; `silence_s` without data is a timeout."""
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, read=silence_s)
        with self._transport_errors():
            request = self._client.build_request(
                "GET", path, params=_without_empty(query), timeout=timeout
            )
            answer = await self._client.send(request, stream=True)
        try:
            if answer.is_error:
                with self._transport_errors():
                    await answer.aread()
                _body(answer)
            yield answer
        finally:
            await answer.aclose()

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise ServerUnreachable(f"no board answers at {self.url}: {explain(error)}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()


def explain(error: BaseException) -> str:
    """Return the reason why a request failed, from the error of the operating system if possible.

    httpx raises its own exceptions, whose causes include that error.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower() if cause.errno > 0 else str(cause.strerror)
        if isinstance(cause, ExceptionGroup):
            return explain(cause.exceptions[0])
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def segment(name: str) -> str:
    """Return a name encoded as one path segment."""
    return quote(name, safe="")


def _without_empty(query: Query) -> dict[str, str | int]:
    # `from_` is the parameter `from`, which cannot be the name of a Python argument.
    return {name.rstrip("_"): value for name, value in query.items() if value not in (None, "")}


def _body(answer: httpx.Response) -> bytes:
    if answer.is_error:
        raise _refusal(answer.status_code, answer.content)
    return answer.content


def _refusal(status: int, body: bytes) -> ServerRefused:
    try:
        document = msgspec.json.decode(body)
        return ServerRefused(
            document.get("status", status),
            str(document["code"]),
            _NOT_PRINTABLE.sub("?", document["detail"]),
        )
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return ServerRefused(
            status,
            "no-board",
            f"the program at this address is not a Pulseboard server (HTTP {status}):"
            " check --server",
        )
