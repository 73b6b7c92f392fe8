"""account-discovery stores each account once, requests syncs, and ends each run as idle."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import delete, func, select, text
from tests.support.demo import Bank, RecordingSink

from pulseboard.demo.account_discovery import AccountDiscoveryService, AccountDiscoverySettings
from pulseboard.demo.bank_client import BankClient
from pulseboard.demo.store import Database
from pulseboard.demo.store.balances import list_requested_users
from pulseboard.demo.store.models import Account, SyncRequest, User


@pytest.fixture
def service(client: BankClient, database: Database, sink: RecordingSink) -> AccountDiscoveryService:
    settings = AccountDiscoverySettings(interval_s=0.01, page_pause_s=0)
    return AccountDiscoveryService(client, database, sink, settings)


async def count_accounts(database: Database) -> int | None:
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(Account))


async def test_new_accounts_are_stored_once_and_a_sync_of_their_users_is_requested(
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
        customer_id = bank.ledger.account_entry(12).customer_id
        owner = await connection.scalar(select(User.id).where(User.customer_id == customer_id))
    assert await list_requested_users(database, 100) == [owner]


async def test_two_concurrent_discoveries_store_each_account_once(
    client: BankClient, database: Database, database_url: str
) -> None:
    async with await Database.open(database_url) as another:
        runs = [
            AccountDiscoveryService(client, each, RecordingSink()).discover_new_accounts()
            for each in (database, another)
        ]
        found = await asyncio.gather(*runs)
    assert sum(new or 0 for new in found) == await count_accounts(database) == 12


async def test_run_is_discovering_at_its_start_and_idle_at_its_end(
    service: AccountDiscoveryService, sink: RecordingSink
) -> None:
    await service.discover_new_accounts()
    assert sink.column("phase") == ["discovering"] * 4 + ["idle"]
    assert sink.column("isRunning") == [True] * 4 + [False]
    assert sink.column("accountsSeen") == [0, 4, 8, 12, 12]
    assert (sink.last["done"], sink.last["discovered"]) == (1, 12)
    assert sink.last["nextRunAt"] >= sink.last["lastRunAt"]


async def test_failed_run_ends_idle_and_the_next_run_succeeds(
    service: AccountDiscoveryService, sink: RecordingSink, bank: Bank
) -> None:
    bank.fail_next("accounts", 503, 503, 503)
    assert await service.discover_new_accounts() is None
    assert sink.column("phase") == ["discovering", "idle"]
    assert (sink.last["failed"], sink.last["done"], sink.last["retries"]) == (1, 0, 2)
    assert "(503)" in sink.last["lastError"]
    assert await service.discover_new_accounts() == 12


async def test_run_that_fails_in_the_database_ends_idle(
    service: AccountDiscoveryService, sink: RecordingSink, database: Database
) -> None:
    async with database.write() as connection:
        await connection.execute(text("DROP TABLE accounts"))
    assert await service.discover_new_accounts() is None
    assert sink.column("phase") == ["discovering", "idle"]
    assert "no such table" in sink.last["lastError"]


async def test_stopped_run_ends_after_its_page(
    client: BankClient, database: Database, sink: RecordingSink
) -> None:
    service = AccountDiscoveryService(
        client, database, sink, AccountDiscoverySettings(page_pause_s=60)
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await sink.until(lambda status: status["accountsSeen"] == 4)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert (service.get_status()["phase"], service.get_status()["done"]) == ("stopped", 0)
    assert await count_accounts(database) == 4


async def test_later_run_discovers_accounts_that_opened_since(
    service: AccountDiscoveryService, sink: RecordingSink, bank: Bank
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await sink.until(lambda status: status["discovered"] == 12)
    bank.step = 3
    await sink.until(lambda status: status["discovered"] == 15)
    stop.set()
    await asyncio.wait_for(running, 5)
