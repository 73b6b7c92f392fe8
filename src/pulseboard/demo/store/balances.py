"""Queries about balances: due users, their accounts, and the balances from the bank."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, or_, select, update

from pulseboard.demo.bank.values import AccountBalance
from pulseboard.demo.store.database import Database, insert_into, now_ms
from pulseboard.demo.store.models import Account, Balance, SyncRequest, User


class UserAccount(msgspec.Struct, frozen=True):
    """An account of a user."""

    id: int
    account_id: str


async def list_due_users(database: Database, synced_before: int, limit: int) -> list[int]:
    """Return users that were never synced, then users in the order of their last sync."""
    statement = (
        select(User.id)
        .where(or_(User.synced_at.is_(None), User.synced_at < synced_before))
        .order_by(User.synced_at.nulls_first(), User.id)
        .limit(limit)
    )
    async with database.read() as connection:
        return list(await connection.scalars(statement))


async def list_requested_users(database: Database, limit: int) -> list[int]:
    """Return users with a sync request that is due, in the order of the requests."""
    statement = (
        select(SyncRequest.user_id)
        .where(SyncRequest.not_before <= now_ms())
        .order_by(SyncRequest.requested_at, SyncRequest.user_id)
        .limit(limit)
    )
    async with database.read() as connection:
        return list(await connection.scalars(statement))


async def list_accounts_of(database: Database, user_id: int) -> list[UserAccount]:
    """Return all accounts of a user."""
    statement = (
        select(Account.id, Account.account_id)
        .where(Account.user_id == user_id)
        .order_by(Account.id)
    )
    async with database.read() as connection:
        return [UserAccount(*row) for row in await connection.execute(statement)]


async def store_balances(
    database: Database,
    user_id: int,
    balances: Sequence[tuple[UserAccount, AccountBalance]],
    *,
    started_at: int,
) -> int:
    """Store a user's balances, delete the user's sync request, return the sum in minor units.

    A request that is newer than the start of the sync (`started_at`) stays, because it may concern
    an account that this sync did not include.
    """
    now = now_ms()
    rows = [
        {
            "account_id": account.id,
            "currency": balance.currency,
            "booked_minor": balance.booked_minor,
            "available_minor": balance.available_minor,
            "step": balance.step,
            "updated_at": now,
        }
        for account, balance in balances
    ]
    total = sum(balance.booked_minor for _, balance in balances)
    synced = {"balance_minor": total, "currency": balances[0][1].currency, "synced_at": now}
    async with database.write() as connection:
        statement = insert_into(connection, Balance).values(rows)
        updated = {name: statement.excluded[name] for name in rows[0] if name != "account_id"}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["account_id"], set_=updated)
        )
        await connection.execute(update(User).where(User.id == user_id).values(synced))
        fulfilled = (SyncRequest.user_id == user_id, SyncRequest.requested_at < started_at)
        await connection.execute(delete(SyncRequest).where(*fulfilled))
    return total


async def postpone_request(database: Database, user_id: int, wait_ms: Sequence[int]) -> None:
    """Record that a requested sync failed: it is due again after the next wait of `wait_ms`.

    After the last wait the request is deleted, and the user is synced in the normal order. Does
    nothing when the user has no request.
    """
    async with database.write() as connection:
        tries = await connection.scalar(
            select(SyncRequest.tries).where(SyncRequest.user_id == user_id)
        )
        if tries is None:
            return
        if tries >= len(wait_ms):
            await connection.execute(delete(SyncRequest).where(SyncRequest.user_id == user_id))
            return
        later = {"tries": tries + 1, "not_before": now_ms() + wait_ms[tries]}
        await connection.execute(
            update(SyncRequest).where(SyncRequest.user_id == user_id).values(later)
        )
