"""A real bank on a private port, a real SQLite file, and a sink that records statuses."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import select

from pulseboard.demo.bank.app import create_app
from pulseboard.demo.bank.faults import FaultInjector, FaultSettings
from pulseboard.demo.bank.ledger import Ledger, LedgerPlan
from pulseboard.demo.bank_client import BankClient, RetryPolicy
from pulseboard.demo.status import Status
from pulseboard.demo.store import Database
from pulseboard.demo.store.accounts import add_accounts
from pulseboard.demo.store.models import User

QUICK = RetryPolicy(max_tries=3, first_delay_s=0.001, max_delay_s=0.002, timeout_s=5)
CLEAR = FaultSettings(latency_ms=0, latency_spread_ms=0)


@dataclass
class Bank:
    """The bank under test; a test can inject failures and inspect the requests."""

    url: str
    ledger: Ledger
    faults: FaultInjector
    step: int = 0
    requested: list[str] = field(default_factory=list)
    """Paths in the order of the requests."""
    planned_failures: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Status, headers and body of the next responses, by the end of the path."""
    gate: asyncio.Event | None = None
    """If there is a gate, requests wait until it is set."""
    in_flight: int = 0
    max_in_flight: int = 0

    def fail_next(
        self, ending: str, *statuses: int, body: bytes = b"no json", **headers: str
    ) -> None:
        """Answer the next requests for paths with this ending with these statuses."""
        self.planned_failures[ending] += [(status, headers, body) for status in statuses]

    def count(self, ending: str) -> int:
        """Return the number of requests for paths with this ending."""
        return sum(path.endswith(ending) for path in self.requested)


def wrap_app(app: ASGIApp, bank: Bank) -> Callable[[Any, Receive, Send], Any]:
    """Return an app that records requests and answers those for which a failure is planned."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        bank.requested.append(scope["path"])
        bank.in_flight += 1
        bank.max_in_flight = max(bank.max_in_flight, bank.in_flight)
        try:
            if bank.gate is not None:
                await bank.gate.wait()
            for ending, planned_failures in bank.planned_failures.items():
                if scope["path"].endswith(ending) and planned_failures:
                    status, headers, body = planned_failures.pop(0)
                    raw = [
                        (name.replace("_", "-").encode(), value.encode())
                        for name, value in headers.items()
                    ]
                    await send({"type": "http.response.start", "status": status, "headers": raw})
                    await send({"type": "http.response.body", "body": body, "more_body": False})
                    return
            await app(scope, receive, send)
        finally:
            bank.in_flight -= 1

    return wrapped


@pytest.fixture
def plan() -> LedgerPlan:
    """Return a small bank; a test module may override it."""
    return LedgerPlan(seed=7, customers=5, accounts=12, opening_every=1, max_accounts=40)


@pytest.fixture
async def bank(plan: LedgerPlan) -> AsyncIterator[Bank]:
    """Run the bank without faults; its time stands still until the test changes `step`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The bank's own command sets TCP_NODELAY as well.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ledger = Ledger(plan, lambda: running.step)
        running = Bank(
            f"http://127.0.0.1:{listener.getsockname()[1]}", ledger, FaultInjector(CLEAR, plan.seed)
        )
        app = wrap_app(create_app(ledger, running.faults, page_size=4), running)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield running
        server.should_exit = True
        server.force_exit = True  # do not wait for connected clients
        if running.gate is not None:
            running.gate.set()
        await serving


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[BankClient]:
    """Open a client with short delays between tries."""
    async with BankClient(bank.url, name="test", retry_policy=QUICK) as client:
        yield client


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Return the URL of a SQLite file for this test."""
    return f"sqlite:///{tmp_path / 'demo.db'}"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open the database that the three services share."""
    async with await Database.open(database_url) as database:
        yield database


class RecordingSink:
    """A sink that records every status; a test can wait for one."""

    def __init__(self) -> None:
        self.statuses: list[Status] = []
        self._published = asyncio.Event()

    def replace(self, status: Status, /) -> None:
        """Record a status."""
        self.statuses.append(status)
        self._published.set()

    @property
    def last(self) -> Status:
        """The status published last."""
        return self.statuses[-1]

    def column(self, key: str) -> list[Any]:
        """Return the values of one key in all statuses, in order."""
        return [status[key] for status in self.statuses]

    async def until(self, condition: Callable[[Status], bool]) -> Status:
        """Wait for a status that fulfils the condition, and return it."""
        async with asyncio.timeout(10):
            while True:
                self._published.clear()
                for status in self.statuses:
                    if condition(status):
                        return status
                await self._published.wait()


@pytest.fixture
def sink() -> RecordingSink:
    """Return an empty sink."""
    return RecordingSink()


@dataclass
class Users:
    """The users in the database."""

    bank: Bank
    ids: dict[str, int]
    """User ids by customer id."""

    def accounts_of(self, user_id: int) -> list[int]:
        """Return the indexes of a user's accounts in the bank's list."""
        indexes = range(self.bank.ledger.account_count())
        return [
            index
            for index in indexes
            if self.ids[self.bank.ledger.account_entry(index).customer_id] == user_id
        ]

    def requested(self) -> list[int]:
        """Return users in the order of the first request for a balance of theirs."""
        owners = {
            self.bank.ledger.account_entry(i).account_id: i
            for i in range(self.bank.ledger.account_count())
        }
        entries = [
            self.bank.ledger.account_entry(owners[path.split("/")[-2]])
            for path in self.bank.requested
        ]
        return list(dict.fromkeys(self.ids[entry.customer_id] for entry in entries))


@pytest.fixture
async def users(bank: Bank, database: Database) -> Users:
    """Store all accounts of the bank, as discovery does."""
    ledger = bank.ledger
    await add_accounts(
        database, [ledger.account_entry(index) for index in range(ledger.account_count())]
    )
    async with database.read() as connection:
        found = await connection.execute(select(User.customer_id, User.id))
        return Users(bank, {row[0]: row[1] for row in found})


async def until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    """Poll until a condition holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  (the condition has no event)
            await asyncio.sleep(0.005)
