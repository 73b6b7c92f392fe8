"""account-enrichment completes rows, and postpones, then abandons, failing accounts."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, text
from tests.support.demo import Bank, RecordingSink

from pulseboard.demo.account_enrichment import AccountEnrichmentService, AccountEnrichmentSettings
from pulseboard.demo.bank_client import BankClient
from pulseboard.demo.store import Database
from pulseboard.demo.store.models import Account, User

pytestmark = pytest.mark.usefixtures("users")


def make(
    bank: BankClient, database: Database, sink: RecordingSink, *, first_wait_s: float = 0
) -> AccountEnrichmentService:
    settings = AccountEnrichmentSettings(
        interval_s=0.01, batch_size=20, max_tries=2, first_wait_s=first_wait_s
    )
    return AccountEnrichmentService(bank, database, sink, settings)


@pytest.fixture
def service(
    client: BankClient, database: Database, sink: RecordingSink
) -> AccountEnrichmentService:
    return make(client, database, sink)


async def test_rows_are_completed_with_the_details_from_the_bank(
    service: AccountEnrichmentService, database: Database, bank: Bank
) -> None:
    assert await service.enrich_accounts() == 12
    columns = (
        Account.account_id,
        User.name,
        Account.title,
        Account.product,
        Account.iban,
        Account.branch,
    )
    async with database.read() as connection:
        found = await connection.execute(select(*columns).join(User, User.id == Account.user_id))
        rows = [tuple(row) for row in found]
    details = [bank.ledger.account_detail(index) for index in range(12)]
    names = {(person := bank.ledger.customer(index)).customer_id: person.name for index in range(5)}
    assert sorted(rows) == sorted(
        (
            detail.account_id,
            names[detail.customer_id],
            detail.title,
            detail.product,
            detail.iban,
            detail.branch,
        )
        for detail in details
    )
    assert await service.enrich_accounts() == 0


async def test_run_is_published_at_its_start_and_at_its_end(
    service: AccountEnrichmentService, sink: RecordingSink
) -> None:
    await service.enrich_accounts()
    assert sink.column("phase") == ["enriching"] * 13 + ["idle"]
    assert sink.column("isRunning") == [True] * 13 + [False]
    assert (sink.last["done"], sink.last["pending"], sink.last["inFlight"]) == (12, 0, 0)
    assert max(sink.column("inFlight")) <= 3


async def test_failed_account_is_retried_only_after_its_wait(
    client: BankClient, database: Database, sink: RecordingSink, bank: Bank
) -> None:
    service = make(client, database, sink, first_wait_s=60)
    account_id = bank.ledger.account_entry(0).account_id
    bank.fail_next(account_id, 503, 503, 503)
    assert await service.enrich_accounts() == 11
    assert (sink.last["failed"], sink.last["pending"], sink.last["abandoned"]) == (1, 1, 0)
    assert "(503)" in sink.last["lastError"]
    assert await service.enrich_accounts() == 0
    assert bank.count(account_id) == 3
    async with database.write() as connection:
        await connection.execute(text("UPDATE accounts SET enrich_after = 0"))  # a minute later
    assert await service.enrich_accounts() == 1
    assert sink.last["pending"] == 0


async def test_account_that_keeps_failing_is_abandoned_and_counted(
    service: AccountEnrichmentService, sink: RecordingSink, bank: Bank
) -> None:
    account_id = bank.ledger.account_entry(0).account_id
    bank.fail_next(account_id, *[404] * 9)
    for _ in range(4):
        await service.enrich_accounts()
    assert bank.count(account_id) == 2
    assert (sink.last["failed"], sink.last["abandoned"], sink.last["done"]) == (2, 1, 11)
    assert sink.last["pending"] == 0


async def test_run_that_fails_in_the_database_ends_idle(
    service: AccountEnrichmentService, sink: RecordingSink, database: Database
) -> None:
    async with database.write() as connection:
        await connection.execute(text("DROP TABLE accounts"))
    assert await service.enrich_accounts() == 0
    assert sink.column("phase") == ["enriching", "idle"]
    assert sink.last["failed"] == 1
    assert "no such table" in sink.last["lastError"]


async def test_service_runs_until_it_is_stopped(
    service: AccountEnrichmentService, sink: RecordingSink
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await sink.until(lambda status: status["done"] == 12 and not status["isRunning"])
    stop.set()
    await asyncio.wait_for(running, 5)
    assert service.get_status()["phase"] == "stopped"
