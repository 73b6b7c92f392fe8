"""The bank's HTTP API: lists in pages, details, balances, health.

Handlers only find and page entries; `ledger` computes them, and `faults` injects failures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from pulseboard.demo.bank.cursor import CursorError, format_cursor, parse_cursor
from pulseboard.demo.bank.faults import FaultInjector
from pulseboard.demo.bank.ledger import Ledger
from pulseboard.demo.bank.problems import BankProblem, create_problem_response
from pulseboard.demo.bank.values import (
    ACCOUNTS_PATH,
    CUSTOMERS_PATH,
    HEALTH_PATH,
    AccountBalance,
    AccountDetail,
    AccountEntry,
    Customer,
    Health,
    Page,
    PageHeader,
)

T = TypeVar("T")
MAX_PAGE_SIZE = 200
Limit = Annotated[int | None, QueryParameter(ge=1, le=MAX_PAGE_SIZE)]


def step_clock(epoch: float, step_s: float) -> Callable[[], int]:
    """Return a clock that counts steps of `step_s` seconds since `epoch` (Unix time).

    A restarted bank with the same epoch continues at the same step.
    """
    return lambda: max(0, int((time.time() - epoch) / step_s))


def create_app(
    ledger: Ledger,
    faults: FaultInjector,
    *,
    page_size: int = 50,
    on_ready: Callable[[], None] | None = None,
) -> Litestar:
    """Create the application; raises ValueError when `page_size` is out of range."""
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise ValueError(f"page_size must be between 1 and {MAX_PAGE_SIZE}")
    return Litestar(
        route_handlers=[*_list_routes(ledger, page_size), *_item_routes(ledger)],
        middleware=[faults],
        exception_handlers={Exception: create_problem_response},
        on_startup=[on_ready] if on_ready else [],
        openapi_config=None,
        logging_config=None,
    )


def _list_routes(ledger: Ledger, page_size: int) -> Sequence[HTTPRouteHandler]:
    def read_page(
        listing: str, count: int, entry: Callable[[int], T], cursor: str | None, limit: int | None
    ) -> Page[T]:
        seed, size = ledger.plan.seed, limit or page_size
        try:
            start = 0 if cursor is None else parse_cursor(seed, listing, cursor)
        except CursorError as error:
            raise BankProblem(400, "bad-cursor", str(error)) from error
        end = min(start + size, count)
        next_cursor = format_cursor(seed, listing, end) if end < count else None
        return Page(PageHeader(size, next_cursor), [entry(index) for index in range(start, end)])

    @get(CUSTOMERS_PATH, sync_to_thread=False)
    def list_customers(cursor: FromQuery[str | None] = None, limit: Limit = None) -> Page[Customer]:
        return read_page("customers", ledger.customer_count(), ledger.customer, cursor, limit)

    @get(ACCOUNTS_PATH, sync_to_thread=False)
    def list_accounts(
        cursor: FromQuery[str | None] = None, limit: Limit = None
    ) -> Page[AccountEntry]:
        return read_page("accounts", ledger.account_count(), ledger.account_entry, cursor, limit)

    return [list_customers, list_accounts]


def _item_routes(ledger: Ledger) -> Sequence[HTTPRouteHandler]:
    def find_account(account_id: str) -> int:
        index = ledger.find_account(account_id)
        if index is None:
            raise BankProblem(404, "unknown-account", "The account does not exist")
        return index

    @get(f"{CUSTOMERS_PATH}/{{customer_id:str}}", sync_to_thread=False)
    def get_customer(customer_id: FromPath[str]) -> Customer:
        index = ledger.find_customer(customer_id)
        if index is None:
            raise BankProblem(404, "unknown-customer", "The customer does not exist")
        return ledger.customer(index)

    @get(f"{ACCOUNTS_PATH}/{{account_id:str}}", sync_to_thread=False)
    def get_account(account_id: FromPath[str]) -> AccountDetail:
        return ledger.account_detail(find_account(account_id))

    @get(f"{ACCOUNTS_PATH}/{{account_id:str}}/balances", sync_to_thread=False)
    def get_balance(account_id: FromPath[str]) -> AccountBalance:
        return ledger.account_balance(find_account(account_id))

    @get(HEALTH_PATH, sync_to_thread=False)
    def get_health() -> Health:
        return Health("ok", ledger.clock(), ledger.account_count())

    return [get_customer, get_account, get_balance, get_health]
