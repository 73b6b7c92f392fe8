"""Queries about accounts, for account-discovery and account-enrichment."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pulseboard.demo.bank.values import AccountDetail, AccountEntry
from pulseboard.demo.store.database import Database, insert_into, now_ms
from pulseboard.demo.store.models import Account, SyncRequest, User


class PendingAccount(msgspec.Struct, frozen=True):
    """An account without details."""

    id: int
    account_id: str
    user_id: int
    customer_id: str
    user_is_named: bool
    tries: int


async def add_accounts(database: Database, entries: Sequence[AccountEntry]) -> int:
    """Store new accounts and their users, and request a sync; return the number of accounts."""
    async with database.read() as connection:
        numbers = [entry.account_id for entry in entries]
        known = set(
            await connection.scalars(
                select(Account.account_id).where(Account.account_id.in_(numbers))
            )
        )
    unknown = [entry for entry in entries if entry.account_id not in known]
    if not unknown:
        return 0  # most pages have no new account, and need no write lock
    now = now_ms()
    async with database.write() as connection:
        users = await _ensure_users(connection, {entry.customer_id for entry in unknown}, now)
        rows = [
            {
                "account_id": entry.account_id,
                "user_id": users[entry.customer_id],
                "discovered_at": now,
            }
            for entry in unknown
        ]
        statement = (
            insert_into(connection, Account)
            .values(rows)
            .on_conflict_do_nothing(index_elements=["account_id"])
        )
        new = (await connection.execute(statement.returning(Account.user_id))).scalars().all()
        await _request_sync(connection, set(new), now)
    return len(new)


async def list_pending(database: Database, limit: int) -> list[PendingAccount]:
    """Return accounts whose details are due, the longest waiting first."""
    statement = (
        select(
            Account.id,
            Account.account_id,
            User.id,
            User.customer_id,
            User.name.is_not(None),
            Account.enrich_tries,
        )
        .join(User, User.id == Account.user_id)
        .where(
            Account.enriched_at.is_(None),
            Account.abandoned_at.is_(None),
            Account.enrich_after <= now_ms(),
        )
        .order_by(Account.enrich_after, Account.id)
        .limit(limit)
    )
    async with database.read() as connection:
        return [PendingAccount(*row) for row in await connection.execute(statement)]


async def count_pending(database: Database) -> int:
    """Count the accounts without details that are not abandoned."""
    statement = select(func.count()).where(
        Account.enriched_at.is_(None), Account.abandoned_at.is_(None)
    )
    async with database.read() as connection:
        return await connection.scalar(statement) or 0


async def complete_account(
    database: Database, account: PendingAccount, detail: AccountDetail, name: str | None
) -> None:
    """Store the details of an account and, unless it is None, the name of its user."""
    completed = {
        "title": detail.title,
        "product": detail.product,
        "currency": detail.currency,
        "iban": detail.iban,
        "branch": detail.branch,
        "enriched_at": now_ms(),
        "enrich_error": None,
    }
    async with database.write() as connection:
        await connection.execute(update(Account).where(Account.id == account.id).values(completed))
        if name is not None:
            await connection.execute(
                update(User).where(User.id == account.user_id).values(name=name)
            )


async def postpone_account(
    database: Database, account: PendingAccount, error: str, wait_ms: int | None
) -> None:
    """Record a failure; the account is due again after `wait_ms`, or abandoned if None."""
    now = now_ms()
    failure = {"enrich_tries": account.tries + 1, "enrich_error": error}
    due = {"abandoned_at": now} if wait_ms is None else {"enrich_after": now + wait_ms}
    async with database.write() as connection:
        await connection.execute(
            update(Account).where(Account.id == account.id).values(failure | due)
        )


async def _ensure_users(
    connection: AsyncConnection, customers: set[str], now: int
) -> dict[str, int]:
    rows = [{"customer_id": customer, "discovered_at": now} for customer in sorted(customers)]
    statement = (
        insert_into(connection, User)
        .values(rows)
        .on_conflict_do_nothing(index_elements=["customer_id"])
    )
    await connection.execute(statement)
    found = await connection.execute(
        select(User.customer_id, User.id).where(User.customer_id.in_(customers))
    )
    return {row[0]: row[1] for row in found}


async def _request_sync(connection: AsyncConnection, users: set[int], now: int) -> None:
    if not users:
        return
    rows = [
        {"user_id": user, "requested_at": now, "tries": 0, "not_before": 0}
        for user in sorted(users)
    ]
    statement = insert_into(connection, SyncRequest).values(rows)
    renewed = {"requested_at": now, "tries": 0, "not_before": 0}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["user_id"], set_=renewed)
    )
