"""What the bank's HTTP API says, shared by the bank and its client.

Money is an integer in minor units (cents) beside its currency: never a float.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

CUSTOMERS_PATH = "/api/v1/party/customers"
ACCOUNTS_PATH = "/api/v1/holdings/accounts"
HEALTH_PATH = "/health"
CLIENT_HEADER = "x-client-id"
"""Names the caller for the per-client rate limit; without it, callers of one address share one limit."""


class Value(msgspec.Struct, frozen=True, rename="camel"):
    """A value of the API: immutable, camelCase on the wire."""


class Customer(Value, frozen=True):
    """A customer of the bank."""

    customer_id: str
    name: str
    segment: str


class AccountEntry(Value, frozen=True):
    """An account as the list shows it: just enough to find it."""

    account_id: str
    customer_id: str


class AccountDetail(Value, frozen=True):
    """All that is fixed about an account."""

    account_id: str
    customer_id: str
    title: str
    product: str
    currency: str
    iban: str
    branch: str
    opened_step: int


class AccountBalance(Value, frozen=True):
    """An account's money at one step of the bank's time."""

    account_id: str
    currency: str
    booked_minor: int
    available_minor: int
    step: int


class PageHeader(Value, frozen=True):
    """Where a page stands; `next_cursor` is null on the last page there is at this moment."""

    page_size: int
    next_cursor: str | None


class Page(Value, Generic[T], frozen=True):
    """One page of a list."""

    header: PageHeader
    body: list[T]


class Health(Value, frozen=True):
    """The bank's own condition."""

    status: str
    step: int
    accounts: int


class Problem(Value, frozen=True):
    """A problem document (RFC 9457) with a stable `code`."""

    status: int
    title: str
    code: str
    detail: str = ""
