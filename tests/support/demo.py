"""A real bank on a private port, a real SQLite file, and a sink that remembers."""

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
    """The bank under test, and what the test may do to it and see of it."""

    url: str
    ledger: Ledger
    faults: FaultInjector
    step: int = 0
    asked: list[str] = field(default_factory=list)
    """Paths in the order of asking."""
    troubles: dict[str, list[tuple[int, dict[str, str], bytes]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By the end of a path: statuses, headers and bodies to answer next instead; one is used up by each request."""
    gate: asyncio.Event | None = None
    """When set, requests wait for it."""
    in_flight: int = 0
    most_in_flight: int = 0

    def trouble(
        self, ending: str, *statuses: int, body: bytes = b"no json", **headers: str
    ) -> None:
        """Answer the next requests for paths that end so with these statuses."""
        self.troubles[ending] += [(status, headers, body) for status in statuses]

    def count(self, ending: str) -> int:
        """How many requests ended so."""
        return sum(path.endswith(ending) for path in self.asked)


def stand_before(app: ASGIApp, bank: Bank) -> Callable[[Any, Receive, Send], Any]:
    """Record requests and answer those that the test wants to fail."""

    async def stand_in(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        bank.asked.append(scope["path"])
        bank.in_flight += 1
        bank.most_in_flight = max(bank.most_in_flight, bank.in_flight)
        try:
            if bank.gate is not None:
                await bank.gate.wait()
            for ending, troubles in bank.troubles.items():
                if scope["path"].endswith(ending) and troubles:
                    status, headers, body = troubles.pop(0)
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

    return stand_in


@pytest.fixture
def plan() -> LedgerPlan:
    """A small world; a test module may have its own."""
    return LedgerPlan(seed=7, customers=5, accounts=12, opening_every=1, max_accounts=40)


@pytest.fixture
async def bank(plan: LedgerPlan) -> AsyncIterator[Bank]:
    """Run the bank in fair weather, its time standing still until the test moves `step`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # as the bank's own command does
        ledger = Ledger(plan, lambda: running.step)
        running = Bank(
            f"http://127.0.0.1:{listener.getsockname()[1]}", ledger, FaultInjector(CLEAR, plan.seed)
        )
        app = stand_before(create_app(ledger, running.faults, page_size=4), running)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield running
        server.should_exit = server.force_exit = (
            True  # clients that are still connected are not waited for
        )
        if running.gate is not None:
            running.gate.set()
        await serving


@pytest.fixture
async def client(bank: Bank) -> AsyncIterator[BankClient]:
    """A client that does not wait long between tries."""
    async with BankClient(bank.url, name="test", retry_policy=QUICK) as client:
        yield client


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """A file of this test's own."""
    return f"sqlite:///{tmp_path / 'demo.db'}"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open the database that the three services share."""
    async with await Database.open(database_url) as database:
        yield database


class Board:
    """A sink that remembers every status and lets a test wait for one."""

    def __init__(self) -> None:
        self.statuses: list[Status] = []
        self._came = asyncio.Event()

    def replace(self, status: Status, /) -> None:
        """Remember a status."""
        self.statuses.append(status)
        self._came.set()

    @property
    def last(self) -> Status:
        """The status published last."""
        return self.statuses[-1]

    def column(self, key: str) -> list[Any]:
        """One key of all statuses, in order."""
        return [status[key] for status in self.statuses]

    async def until(self, wanted: Callable[[Status], bool]) -> Status:
        """Wait for a status that is wanted."""
        async with asyncio.timeout(10):
            while True:
                self._came.clear()
                for status in self.statuses:
                    if wanted(status):
                        return status
                await self._came.wait()


@pytest.fixture
def board() -> Board:
    """Give a fresh board."""
    return Board()


@dataclass
class Users:
    """Who the database knows, as the tests of the services need it."""

    bank: Bank
    ids: dict[str, int]
    """By customer."""

    def accounts_of(self, user_id: int) -> list[int]:
        """Places of a user's accounts in the bank's list."""
        places = range(self.bank.ledger.account_count())
        return [
            index
            for index in places
            if self.ids[self.bank.ledger.account_entry(index).customer_id] == user_id
        ]

    def asked(self) -> list[int]:
        """Users in the order in which the bank was first asked for a balance of theirs."""
        owners = {
            self.bank.ledger.account_entry(i).account_id: i
            for i in range(self.bank.ledger.account_count())
        }
        entries = [
            self.bank.ledger.account_entry(owners[path.split("/")[-2]]) for path in self.bank.asked
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
    """Wait for what nothing announces."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  (there is no event to wait for)
            await asyncio.sleep(0.005)
