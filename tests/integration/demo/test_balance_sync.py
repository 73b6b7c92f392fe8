"""balance-sync: its results, its order of users, and failures of the bank or the database."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import select, text
from tests.support.demo import CLEAR, Bank, RecordingSink, Users, until

from pulseboard.demo.balance_sync import BalanceSyncService, BalanceSyncSettings
from pulseboard.demo.bank.faults import FaultSettings
from pulseboard.demo.bank_client import BankClient
from pulseboard.demo.store import Database
from pulseboard.demo.store.balances import list_requested_users
from pulseboard.demo.store.models import User

QUICK = {"users_per_s": 1000.0, "fill_interval_s": 0.05, "request_interval_s": 0.05}


def make(
    bank: BankClient, database: Database, sink: RecordingSink, *, concurrency: int = 1, **more: int
) -> BalanceSyncService:
    given = {**QUICK, "concurrency": concurrency, **more}
    settings = BalanceSyncSettings(**given)  # type: ignore[arg-type]
    return BalanceSyncService(bank, database, sink, settings)


@pytest.fixture
def service(client: BankClient, database: Database, sink: RecordingSink) -> BalanceSyncService:
    return make(client, database, sink)


async def test_balance_is_the_sum_of_the_users_accounts_and_is_stored(
    service: BalanceSyncService, users: Users, database: Database, bank: Bank
) -> None:
    for user in users.ids.values():
        cents = sum(
            bank.ledger.account_balance(index).booked_minor for index in users.accounts_of(user)
        )
        assert await service.sync_user_balance(user) == Decimal(cents) / 100
        async with database.read() as connection:
            assert (
                await connection.scalar(select(User.balance_minor).where(User.id == user)) == cents
            )
    assert (service.get_status()["done"], service.get_status()["failed"]) == (5, 0)


@pytest.mark.parametrize(
    ("status", "body", "output"),
    [
        (503, b"", "(503)"),
        (404, b"", "(404)"),
        (200, b"<html>", "response is invalid"),
        (
            200,
            b'{"accountId":"1","currency":"EUR","bookedMinor":%d,"availableMinor":1,"step":1}'
            % (10**19),
            "database failed",
        ),
    ],
    ids=["outage", "refused", "garbage", "more-money-than-fits"],
)
async def test_failing_bank_gives_none_and_is_counted(
    service: BalanceSyncService,
    users: Users,
    sink: RecordingSink,
    bank: Bank,
    status: int,
    body: bytes,
    output: str,
) -> None:
    user = next(user for user in users.ids.values() if users.accounts_of(user))
    bank.fail_next("/balances", *[status] * 3, body=body)
    assert await service.sync_user_balance(user) is None
    assert (sink.last["failed"], sink.last["done"], sink.last["inFlight"]) == (1, 0, 0)
    assert sink.last["lastErrorAt"] is not None
    assert output in sink.last["lastError"]
    bank.planned_failures.clear()
    assert await service.sync_user_balance(user) is not None


async def test_user_without_accounts_has_no_balance(
    service: BalanceSyncService, sink: RecordingSink
) -> None:
    assert await service.sync_user_balance(404) is None
    assert (sink.last["failed"], sink.last["lastError"]) == (1, "user 404 has no account")


async def test_failing_database_gives_none_and_is_counted(
    service: BalanceSyncService, users: Users, database: Database, sink: RecordingSink
) -> None:
    async with database.write() as connection:
        await connection.execute(text("DROP TABLE balances"))
    assert await service.sync_user_balance(min(users.ids.values())) is None
    assert sink.last["failed"] == 1
    assert "no such table" in sink.last["lastError"]


async def test_high_priority_goes_before_normal(service: BalanceSyncService, users: Users) -> None:
    first, second, third, *_ = users.ids.values()
    service.enqueue(first)
    service.enqueue(second)
    service.enqueue(third, high_priority=True)
    assert await service.process_queues() == 3
    assert users.requested() == [third, first, second]


async def test_user_who_gets_high_priority_during_a_pass_is_next(
    service: BalanceSyncService, users: Users, bank: Bank
) -> None:
    first, second, urgent, *_ = users.ids.values()
    bank.gate = asyncio.Event()
    service.enqueue(first)
    service.enqueue(second)
    working = asyncio.create_task(service.process_queues())
    await until(lambda: bank.in_flight == 1)
    service.enqueue(urgent, high_priority=True)
    bank.gate.set()
    await working
    assert users.requested() == [first, urgent, second]


async def test_user_queued_again_is_synced_once(service: BalanceSyncService, users: Users) -> None:
    user, other, *_ = users.ids.values()
    for _ in range(3):
        assert service.enqueue(user)
        assert service.enqueue(other, high_priority=True)
        assert service.enqueue(other)
    assert (service.get_status()["normalQueue"], service.get_status()["highPriorityQueue"]) == (
        1,
        1,
    )
    assert await service.process_queues() == 2
    assert service.get_status()["dropped"] == 0


async def test_full_queues_reject_users_and_count_them(
    client: BankClient, database: Database, sink: RecordingSink
) -> None:
    service = make(client, database, sink, high_capacity=1, normal_capacity=2)
    assert [service.enqueue(user) for user in (1, 2, 3, 4)] == [True, True, False, False]
    assert [service.enqueue(user, high_priority=True) for user in (5, 6)] == [True, False]
    status = service.get_status()
    assert (status["normalQueue"], status["highPriorityQueue"], status["dropped"]) == (2, 1, 3)


async def test_active_users_never_exceed_the_concurrency(
    client: BankClient, database: Database, sink: RecordingSink, users: Users, bank: Bank
) -> None:
    service = make(client, database, sink, concurrency=2)
    bank.gate = asyncio.Event()
    bank.faults.settings = FaultSettings(latency_ms=20, latency_spread_ms=0)
    for user in users.ids.values():
        service.enqueue(user)
    working = asyncio.create_task(service.process_queues())
    await until(lambda: bank.in_flight == 2)
    assert service.get_status()["inFlight"] == 2
    bank.gate.set()
    assert await working == 5
    assert bank.max_in_flight == 2


async def test_status_is_published_after_each_user_and_after_each_pass(
    service: BalanceSyncService, users: Users, sink: RecordingSink
) -> None:
    for user in list(users.ids.values())[:3]:
        service.enqueue(user)
    await service.process_queues()
    assert sink.column("done") == [1, 2, 3, 3]
    assert sink.column("isRunning") == [True, True, True, False]
    assert (sink.last["phase"], sink.last["normalQueue"]) == ("idle", 0)


async def test_requested_sync_that_failed_waits_for_the_next_try(
    service: BalanceSyncService, users: Users, database: Database, bank: Bank
) -> None:
    user = (await list_requested_users(database, 10))[0]
    bank.fail_next("/balances", 404)
    assert await service.sync_user_balance(user) is None
    assert user not in await list_requested_users(database, 10)
    assert len(await list_requested_users(database, 10)) == len(users.ids) - 1


async def test_service_survives_an_outage_of_the_bank_and_can_be_stopped(
    service: BalanceSyncService, users: Users, sink: RecordingSink, bank: Bank
) -> None:
    bank.faults.settings = FaultSettings(0, 0, error_rate=1)
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await sink.until(lambda status: status["failed"] >= len(users.ids))
    bank.faults.settings = CLEAR
    await sink.until(lambda status: status["done"] >= len(users.ids))
    stop.set()
    await asyncio.wait_for(running, 5)
    assert service.get_status()["phase"] == "stopped"


async def test_service_reports_a_database_failure_and_continues_afterwards(
    service: BalanceSyncService, users: Users, sink: RecordingSink, database: Database
) -> None:
    async def rename(old: str, new: str) -> None:
        async with database.write() as connection:
            await connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    await rename("users", "away")
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await sink.until(lambda status: "no such table" in (status["lastError"] or ""))
    await rename("away", "users")
    await sink.until(lambda status: status["done"] >= len(users.ids))
    stop.set()
    await asyncio.wait_for(running, 5)


async def test_stop_finishes_active_users_and_starts_no_more(
    client: BankClient, database: Database, sink: RecordingSink, users: Users, bank: Bank
) -> None:
    service = make(client, database, sink, concurrency=2)
    bank.gate, stop = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await until(lambda: bank.in_flight == 2)
    stop.set()
    bank.gate.set()
    await asyncio.wait_for(running, 5)
    assert (sink.last["done"], sink.last["failed"]) == (2, 0)
    assert sink.last["highPriorityQueue"] + sink.last["normalQueue"] == len(users.ids) - 2
