"""Balances: who is due for a sync, whose accounts are asked for, what the bank told."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, or_, select, update

from pulseboard.demo.bank.values import AccountBalance
from pulseboard.demo.store.database import Database, insert_into, now_ms
from pulseboard.demo.store.models import Account, Balance, SyncRequest, User


class HeldAccount(msgspec.Struct, frozen=True):
    """An account of a user."""

    id: int
    account_id: str


async def list_due_users(database: Database, synced_before: int, limit: int) -> list[int]:
    """Give users never synced, then those whose sync is the longest ago."""
    statement = (
        select(User.id)
        .where(or_(User.synced_at.is_(None), User.synced_at < synced_before))
        .order_by(User.synced_at.nulls_first(), User.id)
        .limit(limit)
    )
    async with database.read() as connection:
        return list(await connection.scalars(statement))


async def list_requested_users(database: Database, limit: int) -> list[int]:
    """Give users whose sync was asked for and is due, in the order of asking."""
    statement = (
        select(SyncRequest.user_id)
        .where(SyncRequest.not_before <= now_ms())
        .order_by(SyncRequest.requested_at, SyncRequest.user_id)
        .limit(limit)
    )
    async with database.read() as connection:
        return list(await connection.scalars(statement))


async def list_accounts_of(database: Database, user_id: int) -> list[HeldAccount]:
    """Give all accounts of a user."""
    statement = (
        select(Account.id, Account.account_id)
        .where(Account.user_id == user_id)
        .order_by(Account.id)
    )
    async with database.read() as connection:
        return [HeldAccount(*row) for row in await connection.execute(statement)]


async def store_balances(
    database: Database,
    user_id: int,
    balances: Sequence[tuple[HeldAccount, AccountBalance]],
    *,
    asked_at: int,
) -> int:
    """Store a user's balances, settle the request made before `asked_at`, and give the sum in minor units.

    A request made later stays: it is about an account that this sync did not see.
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
        again = {name: statement.excluded[name] for name in rows[0] if name != "account_id"}
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["account_id"], set_=again)
        )
        await connection.execute(update(User).where(User.id == user_id).values(synced))
        settled = (SyncRequest.user_id == user_id, SyncRequest.requested_at < asked_at)
        await connection.execute(delete(SyncRequest).where(*settled))
    return total


async def put_off_request(database: Database, user_id: int, wait_ms: Sequence[int]) -> None:
    """Note that a requested sync failed: due again after the wait for its try, or dropped when there is none left.

    Dropped, the user is still due like any other. Without a request there is nothing to note.
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
