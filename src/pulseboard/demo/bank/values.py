"""The values of the bank's HTTP API, shared by the bank and its client.

An amount is an integer in minor units (cents) with a currency, never a float.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

CUSTOMERS_PATH = "/api/v1/party/customers"
ACCOUNTS_PATH = "/api/v1/holdings/accounts"
HEALTH_PATH = "/health"
CLIENT_HEADER = "x-client-id"
"""Names the client for the rate limit; clients of one address without it share one limit."""


class Value(msgspec.Struct, frozen=True, rename="camel"):
    """The base of all values: immutable, camelCase on the wire."""


class Customer(Value, frozen=True):
    """A customer of the bank."""

    customer_id: str
    name: str
    segment: str


class AccountEntry(Value, frozen=True):
    """An account as the list contains it: the ids."""

    account_id: str
    customer_id: str


class AccountDetail(Value, frozen=True):
    """The constant details of an account."""

    account_id: str
    customer_id: str
    title: str
    product: str
    currency: str
    iban: str
    branch: str
    opened_step: int


class AccountBalance(Value, frozen=True):
    """The balance of an account at one step of the bank's time."""

    account_id: str
    currency: str
    booked_minor: int
    available_minor: int
    step: int


class PageHeader(Value, frozen=True):
    """The size of a page and the cursor of the next; null on the last page at this moment."""

    page_size: int
    next_cursor: str | None


class Page(Value, Generic[T], frozen=True):
    """One page of a list."""

    header: PageHeader
    body: list[T]


class Health(Value, frozen=True):
    """The health of the bank."""

    status: str
    step: int
    accounts: int


class Problem(Value, frozen=True):
    """A problem document (RFC 9457) with a stable `code`."""

    status: int
    title: str
    code: str
    detail: str = ""
