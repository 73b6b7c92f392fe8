"""A typed client of the bank's HTTP API that waits and tries again, within bounds.

Tried again: 429, 5xx, timeouts, connections that fail. Not: any other 4xx, and answers that make no sense. Invariant:
a call ends after `tries` requests at most, with a value or with one of the errors of this file.

    BankError
    ├── BankUnavailable      still failing after the last try
    │   └── BankThrottled    the last answer was 429, or it asked for more patience than there is
    ├── BankRefused          another 4xx: asking again will not help; `status` and `code` say why
    │   └── BankUnknown      404
    └── BankBadAnswer        the bank answered with something that is no such value
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
    """The bank did not give what was asked."""


class BankUnavailable(BankError):
    """The bank fails or cannot be reached."""


class BankThrottled(BankUnavailable):
    """The bank asks for patience."""


class BankRefused(BankError):
    """The bank refuses the request."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BankUnknown(BankRefused):
    """The bank knows nothing of that name."""


class BankBadAnswer(BankError):
    """The bank's answer makes no sense."""


class Patience(msgspec.Struct, frozen=True):
    """How often and how long to try."""

    tries: int = 3
    first_delay_s: float = 0.2
    longest_delay_s: float = 3.0
    longest_retry_after_s: float = 10.0
    """A bank that asks to wait longer is given up at once: coming back early would only prolong it."""
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if (
            self.tries < 1
            or min(self.first_delay_s, self.longest_delay_s, self.longest_retry_after_s) < 0
        ):
            raise ValueError("patience needs a try, and delays that are not negative")

    def delay_s(self, failures: int) -> float:
        """Give the wait after so many failures: doubling, capped, and jittered so that clients do not come in step."""
        full = min(self.longest_delay_s, self.first_delay_s * 2.0 ** min(failures - 1, 32))
        return full * random.uniform(0.5, 1.0)


class BankClient:
    """Asks the bank; an async context manager. `on_retry` is called before each further try."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str = "",
        patience: Patience | None = None,
        on_retry: Callable[[], None] | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self.on_retry = on_retry
        # A proxy from the environment is for the world outside, not for a bank on this machine.
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=self.patience.timeout_s,
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
        """Read one page of all accounts, from the start or from where a page's cursor points."""
        return await self._get(ACCOUNTS_PATH, Page[AccountEntry], cursor=cursor, limit=limit)

    async def iterate_accounts(self, limit: int | None = None) -> AsyncIterator[list[AccountEntry]]:
        """Read all accounts, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list_accounts(cursor, limit)
            yield page.body
            following = page.header.next_cursor
            if following is None:
                return
            if following == cursor:
                raise BankBadAnswer("the bank's pages go in circles")
            cursor = following

    async def list_customers(
        self, cursor: str | None = None, limit: int | None = None
    ) -> Page[Customer]:
        """Read one page of all customers."""
        return await self._get(CUSTOMERS_PATH, Page[Customer], cursor=cursor, limit=limit)

    async def get_customer(self, customer_id: str) -> Customer:
        """Read one customer."""
        return await self._get(f"{CUSTOMERS_PATH}/{customer_id}", Customer)

    async def get_account(self, account_id: str) -> AccountDetail:
        """Read all that is fixed about an account."""
        return await self._get(f"{ACCOUNTS_PATH}/{account_id}", AccountDetail)

    async def get_balance(self, account_id: str) -> AccountBalance:
        """Read an account's money."""
        return await self._get(f"{ACCOUNTS_PATH}/{account_id}/balances", AccountBalance)

    async def _get(self, path: str, kind: type[T], **query: str | int | None) -> T:
        params = {name: value for name, value in query.items() if value is not None}
        failures = 0
        while True:
            retry_after_s: float | None = None
            try:
                response = await self._http.get(path, params=params)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                failure = BankUnavailable(f"the bank cannot be reached: {_name_fault(error)}")
                failure.__cause__ = error
            else:
                if (
                    response.status_code != httpx.codes.TOO_MANY_REQUESTS
                    and response.status_code < 500
                ):
                    return _read_answer(response, kind)
                failure, retry_after_s = _read_failure(response)
            failures += 1
            if (
                failures >= self.patience.tries
                or (retry_after_s or 0) > self.patience.longest_retry_after_s
            ):
                raise failure
            if self.on_retry is not None:
                self.on_retry()
            await asyncio.sleep(max(self.patience.delay_s(failures), retry_after_s or 0))


def _read_answer(response: httpx.Response, kind: type[T]) -> T:
    if response.is_success:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BankBadAnswer(f"the bank's answer makes no sense: {error}") from error
    problem = _read_problem(response)
    refusal = BankUnknown if response.status_code == httpx.codes.NOT_FOUND else BankRefused
    raise refusal(
        f"{problem.detail or problem.title} ({response.status_code})",
        response.status_code,
        problem.code,
    )


def _read_failure(response: httpx.Response) -> tuple[BankUnavailable, float | None]:
    problem = _read_problem(response)
    kind = (
        BankThrottled if response.status_code == httpx.codes.TOO_MANY_REQUESTS else BankUnavailable
    )
    retry_after_s = _parse_retry_after(response.headers.get("retry-after"))
    return kind(f"{problem.detail or problem.title} ({response.status_code})"), retry_after_s


def _read_problem(response: httpx.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy's page, say
        return Problem(response.status_code, response.reason_phrase or "Error", "unknown")


def _parse_retry_after(text: str | None) -> float | None:
    """Read seconds or an HTTP date (RFC 9110, section 10.2.3); what is neither is ignored."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _name_fault(error: Exception) -> str:
    return str(error) or type(error).__name__
