"""account-discovery: each account once, its user handed on, and a run that always ends as "idle"."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete, func, select, text
from tests.support.demo import Bank, Board

from pulseboard.demo.account_discovery import AccountDiscoveryService, AccountDiscoverySettings
from pulseboard.demo.bank_client import BankClient
from pulseboard.demo.store import Database
from pulseboard.demo.store.balances import list_requested_users
from pulseboard.demo.store.models import Account, SyncRequest, User


@pytest.fixture
def service(client: BankClient, database: Database, board: Board) -> AccountDiscoveryService:
    settings = AccountDiscoverySettings(interval_s=0.01, page_pause_s=0)
    return AccountDiscoveryService(client, database, board, settings)


async def count_accounts(database: Database) -> int | None:
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(Account))


async def test_new_accounts_are_stored_once_and_their_users_handed_on(
    service: AccountDiscoveryService, database: Database, bank: Bank
) -> None:
    assert await service.discover_new_accounts() == 12
    assert len(await list_requested_users(database, 100)) == 5
    async with database.write() as connection:
        await connection.execute(delete(SyncRequest))
    assert await service.discover_new_accounts() == 0
    assert await list_requested_users(database, 100) == []
    bank.step = 1
    assert await service.discover_new_accounts() == 1
    assert await count_accounts(database) == 13
    async with database.read() as connection:
        wanted = bank.ledger.account_entry(12).customer_id
        owner = await connection.scalar(select(User.id).where(User.customer_id == wanted))
    assert await list_requested_users(database, 100) == [owner]


async def test_two_discoveries_at_once_store_each_account_once(
    client: BankClient, database: Database, database_url: str
) -> None:
    async with await Database.open(database_url) as another:
        runs = [
            AccountDiscoveryService(client, each, Board()).discover_new_accounts()
            for each in (database, another)
        ]
        found = await asyncio.gather(*runs)
    assert sum(new or 0 for new in found) == await count_accounts(database) == 12


async def test_run_is_discovering_at_its_start_and_idle_at_its_end(
    service: AccountDiscoveryService, board: Board
) -> None:
    await service.discover_new_accounts()
    assert board.column("phase") == ["discovering"] * 4 + ["idle"]
    assert board.column("isRunning") == [True] * 4 + [False]
    assert board.column("accountsSeen") == [0, 4, 8, 12, 12]
    assert (board.last["done"], board.last["discovered"]) == (1, 12)
    assert board.last["nextRunAt"] >= board.last["lastRunAt"]


async def test_failed_run_ends_idle_too_and_the_next_goes_on(
    service: AccountDiscoveryService, board: Board, bank: Bank
) -> None:
    bank.trouble("accounts", 503, 503, 503)
    assert await service.discover_new_accounts() is None
    assert board.column("phase") == ["discovering", "idle"]
    assert (board.last["failed"], board.last["done"], board.last["retries"]) == (1, 0, 2)
    assert "(503)" in board.last["lastError"]
    assert await service.discover_new_accounts() == 12


async def test_run_that_the_database_fails_ends_idle_too(
    service: AccountDiscoveryService, board: Board, database: Database
) -> None:
    async with database.write() as connection:
        await connection.execute(text("DROP TABLE accounts"))
    assert await service.discover_new_accounts() is None
    assert board.column("phase") == ["discovering", "idle"]
    assert "no such table" in board.last["lastError"]


async def test_run_told_to_stop_ends_after_its_page(
    client: BankClient, database: Database, board: Board
) -> None:
    service = AccountDiscoveryService(
        client, database, board, AccountDiscoverySettings(page_pause_s=60)
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await board.until(lambda status: status["accountsSeen"] == 4)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert (service.get_status()["phase"], service.get_status()["done"]) == ("stopped", 0)
    assert await count_accounts(database) == 4


async def test_accounts_that_open_are_found_by_a_later_run(
    service: AccountDiscoveryService, board: Board, bank: Bank
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await board.until(lambda status: status["discovered"] == 12)
    bank.step = 3
    await board.until(lambda status: status["discovered"] == 15)
    stop.set()
    await asyncio.wait_for(running, 5)
