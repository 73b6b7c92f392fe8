"""The database with three concurrent processes, and the results of its queries."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from pulseboard.demo.bank.values import AccountBalance, AccountEntry
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.accounts import (
    add_accounts,
    count_pending,
    list_pending,
    postpone_account,
)
from pulseboard.demo.store.balances import (
    list_accounts_of,
    list_due_users,
    list_requested_users,
    postpone_request,
    store_balances,
)
from pulseboard.demo.store.database import insert_into, now_ms, parse_url
from pulseboard.demo.store.models import Account, User

ENTRIES = [AccountEntry(f"10{number:08d}", f"{number % 3:06d}") for number in range(7)]

# Opens the database, then adds accounts of its own and one that all processes add, each in a
# transaction.
RIVAL = """
import asyncio, sys
from pulseboard.demo.bank.values import AccountEntry
from pulseboard.demo.store import Database
from pulseboard.demo.store.accounts import add_accounts

async def main(url, name):
    sys.stdin.readline()
    async with await Database.open(url) as database:
        new = 0
        for number in range(20):
            ids = (f"{name}-{number}", f"shared-{number}")
            new += await add_accounts(database, [AccountEntry(id, "one") for id in ids])
        print(new)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_concurrent_processes_neither_lose_nor_repeat_a_row(
    database_url: str, tmp_path: Path
) -> None:
    rivals = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RIVAL, database_url, name),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in "abc"
    ]
    answers = await asyncio.gather(*(rival.communicate(b"go\n") for rival in rivals))
    assert [rival.returncode for rival in rivals] == [0, 0, 0]
    assert sum(int(out) for out, _ in answers) == 3 * 20 + 20
    with sqlite3.connect(tmp_path / "demo.db") as connection:
        assert connection.execute(
            "select count(*), count(distinct account_id) from accounts"
        ).fetchone() == (80, 80)
        assert connection.execute("select count(*) from users").fetchone() == (1,)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_new_accounts_are_stored_once_and_their_users_get_a_request(
    database: Database,
) -> None:
    assert await add_accounts(database, ENTRIES[:4]) == 4
    assert await add_accounts(database, ENTRIES) == 3
    assert await add_accounts(database, ENTRIES) == 0
    users = await list_requested_users(database, 10)
    assert len(users) == 3
    assert sum([len(await list_accounts_of(database, user)) for user in users]) == 7


async def test_request_that_is_newer_than_a_sync_stays(database: Database) -> None:
    await add_accounts(database, ENTRIES[:1])
    (user,) = await list_requested_users(database, 10)
    started_at = now_ms()
    (account,) = await list_accounts_of(database, user)
    await add_accounts(database, [AccountEntry("1099999999", ENTRIES[0].customer_id)])
    balance = AccountBalance(account.account_id, "EUR", 100, 90, 1)
    await store_balances(database, user, [(account, balance)], started_at=started_at)
    assert await list_requested_users(database, 10) == [user]
    await store_balances(database, user, [(account, balance)], started_at=now_ms() + 1000)
    assert await list_requested_users(database, 10) == []


async def test_failed_request_waits_longer_each_time_and_is_deleted_at_the_end(
    database: Database,
) -> None:
    await add_accounts(database, ENTRIES[:1])
    (user,) = await list_requested_users(database, 10)
    await postpone_request(database, user, [60_000])
    assert await list_requested_users(database, 10) == []
    await postpone_request(database, user, [60_000])
    await postpone_request(database, user, [60_000])  # without a request, nothing happens
    assert await list_due_users(database, 0, 10) == [user]


async def test_users_never_synced_are_due_first_then_the_oldest(database: Database) -> None:
    await add_accounts(database, ENTRIES)
    first, second, third = await list_due_users(database, 0, 10)
    for user in (second, first):
        (account, *_) = await list_accounts_of(database, user)
        balance = AccountBalance(account.account_id, "EUR", 1, 1, 1)
        await store_balances(database, user, [(account, balance)], started_at=now_ms())
        await asyncio.sleep(0.002)  # the tables have times in milliseconds
    assert await list_due_users(database, now_ms() + 1, 10) == [third, second, first]
    assert await list_due_users(database, now_ms() + 1, 2) == [third, second]
    assert await list_due_users(database, 0, 10) == [third]


async def test_postponed_account_is_pending_and_not_due_and_an_abandoned_one_is_neither(
    database: Database,
) -> None:
    await add_accounts(database, ENTRIES[:3])
    one, two, three = await list_pending(database, 10)
    await postpone_account(database, one, "later", 60_000)
    await postpone_account(database, two, "never", None)
    assert [account.id for account in await list_pending(database, 10)] == [three.id]
    assert await count_pending(database) == 2


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///demo.db", "sqlite+aiosqlite"),
        ("postgres://me:secret@db/demo", "postgresql+asyncpg"),
        ("postgresql://me:secret@db/demo", "postgresql+asyncpg"),
    ],
)
def test_url_gets_its_asynchronous_driver(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize(
    "url",
    ["", "demo.db", "mysql://me:secret@db/demo", "sqlite://", "sqlite:///:memory:", "a:b@c//"],
)
def test_invalid_url_is_rejected_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="database") as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


async def test_database_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        await Database.open(f"sqlite:///{tmp_path / 'nowhere' / 'demo.db'}")
    with pytest.raises(StoreError, match="database failed"):
        await Database.open("postgresql://me:secret@127.0.0.1:1/demo")


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_insert_ignores_conflicts_in_both_dialects(name: str) -> None:
    dialect = parse_url(f"{name}:///demo").get_dialect()()
    connection = cast("AsyncConnection", SimpleNamespace(dialect=dialect))
    insert = insert_into(connection, User).values(customer_id="1", discovered_at=1)
    ignoring = insert.on_conflict_do_nothing(index_elements=["customer_id"])
    assert "ON CONFLICT (customer_id) DO NOTHING" in str(ignoring.compile(dialect=dialect))


@pytest.mark.parametrize(
    ("name", "key"), [("sqlite", "id INTEGER"), ("postgresql", "id BIGSERIAL")]
)
def test_keys_are_generated_in_both_dialects(name: str, key: str) -> None:
    dialect = parse_url(f"{name}:///demo").get_dialect()()
    assert key in str(CreateTable(cast("Table", Account.__table__)).compile(dialect=dialect))
