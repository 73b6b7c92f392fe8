"""A typed client of the bank's HTTP API with bounded retries.

The client retries after 429, 5xx, timeouts and failed connections; it does not retry after another
4xx or an invalid response. Invariant: a call ends after at most `max_tries` requests, with a value
or with one of these errors:

    BankError
    ├── BankUnavailable      the last try failed too
    │   └── BankThrottled    the last response was 429, or its Retry-After exceeds the policy
    ├── BankRefused          another 4xx, not worth a retry; see `status` and `code`
    │   └── BankNotFound     404
    └── BankInvalidResponse  the body of the response is not a valid value
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from pulseboard.demo.bank.values import (
    ACCOUNTS_PATH,
    CLIENT_HEADER,
    CUSTOMERS_PATH,
    AccountBalance,
    AccountDetail,
    AccountEntry,
    Customer,
    Page,
    Problem,
)

T = TypeVar("T")


class BankError(Exception):
    """A request to the bank failed."""


class BankUnavailable(BankError):
    """The bank failed or cannot be reached."""


class BankThrottled(BankUnavailable):
    """The bank limits the rate of requests."""


class BankRefused(BankError):
    """The bank refused the request."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BankNotFound(BankRefused):
    """The bank has no such customer or account."""


class BankInvalidResponse(BankError):
    """The bank sent an invalid response."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """The number of tries and the delays between them; raises ValueError when out of range."""

    max_tries: int = 3
    first_delay_s: float = 0.2
    max_delay_s: float = 3.0
    max_retry_after_s: float = 10.0
    """A longer Retry-After fails the call, because an earlier retry would prolong the limit."""
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if (
            self.max_tries < 1
            or min(self.first_delay_s, self.max_delay_s, self.max_retry_after_s) < 0
        ):
            raise ValueError("max_tries must be at least 1, and no delay may be negative")

    def delay_s(self, failures: int) -> float:
        """Return the delay after `failures` failures: doubling, capped, and jittered.

        The jitter keeps clients from retrying at the same moment.
        """
        full = min(self.max_delay_s, self.first_delay_s * 2.0 ** min(failures - 1, 32))
        return full * random.uniform(0.5, 1.0)


class BankClient:
    """A client of the bank; an async context manager. `on_retry` is called before each retry."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str = "",
        retry_policy: RetryPolicy | None = None,
        on_retry: Callable[[], None] | None = None,
    ) -> None:
        self.retry_policy = retry_policy or RetryPolicy()
        self.on_retry = on_retry
        # trust_env=False: a proxy from the environment must not see requests to a local bank.
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=self.retry_policy.timeout_s,
            headers={CLIENT_HEADER: name} if name else None,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def list_accounts(
        self, cursor: str | None = None, limit: int | None = None
    ) -> Page[AccountEntry]:
        """Fetch one page of all accounts, from the start or from a page's cursor."""
        return await self._get(ACCOUNTS_PATH, Page[AccountEntry], cursor=cursor, limit=limit)

    async def iterate_accounts(self, limit: int | None = None) -> AsyncIterator[list[AccountEntry]]:
        """Fetch all accounts, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list_accounts(cursor, limit)
            yield page.body
            following = page.header.next_cursor
            if following is None:
                return
            if following == cursor:
                raise BankInvalidResponse("the bank returned the cursor that it was given")
            cursor = following

    async def list_customers(
        self, cursor: str | None = None, limit: int | None = None
    ) -> Page[Customer]:
        """Fetch one page of all customers."""
        return await self._get(CUSTOMERS_PATH, Page[Customer], cursor=cursor, limit=limit)

    async def get_customer(self, customer_id: str) -> Customer:
        """Fetch one customer."""
        return await self._get(f"{CUSTOMERS_PATH}/{customer_id}", Customer)

    async def get_account(self, account_id: str) -> AccountDetail:
        """Fetch the detail of an account."""
        return await self._get(f"{ACCOUNTS_PATH}/{account_id}", AccountDetail)

    async def get_balance(self, account_id: str) -> AccountBalance:
        """Fetch the balance of an account."""
        return await self._get(f"{ACCOUNTS_PATH}/{account_id}/balances", AccountBalance)

    async def _get(self, path: str, kind: type[T], **query: str | int | None) -> T:
        params = {name: value for name, value in query.items() if value is not None}
        failures = 0
        while True:
            retry_after_s: float | None = None
            try:
                response = await self._http.get(path, params=params)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                failure = BankUnavailable(f"the bank cannot be reached: {_describe_error(error)}")
                failure.__cause__ = error
            else:
                if (
                    response.status_code != httpx.codes.TOO_MANY_REQUESTS
                    and response.status_code < 500
                ):
                    return _decode_response(response, kind)
                failure, retry_after_s = _parse_failure(response)
            failures += 1
            if (
                failures >= self.retry_policy.max_tries
                or (retry_after_s or 0) > self.retry_policy.max_retry_after_s
            ):
                raise failure
            if self.on_retry is not None:
                self.on_retry()
            await asyncio.sleep(max(self.retry_policy.delay_s(failures), retry_after_s or 0))


def _decode_response(response: httpx.Response, kind: type[T]) -> T:
    if response.is_success:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BankInvalidResponse(f"the bank's response is invalid: {error}") from error
    problem = _parse_problem(response)
    refusal = BankNotFound if response.status_code == httpx.codes.NOT_FOUND else BankRefused
    raise refusal(
        f"{problem.detail or problem.title} ({response.status_code})",
        response.status_code,
        problem.code,
    )


def _parse_failure(response: httpx.Response) -> tuple[BankUnavailable, float | None]:
    problem = _parse_problem(response)
    kind = (
        BankThrottled if response.status_code == httpx.codes.TOO_MANY_REQUESTS else BankUnavailable
    )
    retry_after_s = _parse_retry_after(response.headers.get("retry-after"))
    return kind(f"{problem.detail or problem.title} ({response.status_code})"), retry_after_s


def _parse_problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):  # for example the error page of a proxy
        return Problem(response.status_code, response.reason_phrase or "Error", "unknown")


def _parse_retry_after(text: str | None) -> float | None:
    """Parse seconds or an HTTP date (RFC 9110, section 10.2.3); return None for anything else."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _describe_error(error: Exception) -> str:
    return str(error) or type(error).__name__
