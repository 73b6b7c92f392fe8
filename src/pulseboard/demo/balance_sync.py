"""balance-sync: keeps the balance of every user up to date, the urgent ones first.

One pass takes users off the queues at a set pace and syncs several at a time; beside it the queues are filled from the
database. Invariant: a bank or a database that fails costs a user's sync, never the service.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from math import inf

import msgspec

from pulseboard.demo.bank_client import BankBadAnswer, BankClient, BankError
from pulseboard.demo.control import CommandFailed, Hold
from pulseboard.demo.queues import SyncQueues
from pulseboard.demo.rhythm import pause, repeat
from pulseboard.demo.status import Status, StatusSink, Tally
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.balances import (
    list_accounts_of,
    list_due_users,
    list_requested_users,
    put_off_request,
    store_balances,
)
from pulseboard.demo.store.database import now_ms

NAME = "balance-sync"
_REQUEST_WAITS_MS = (2_000, 5_000, 15_000, 60_000)
"""How long a requested sync that failed waits for its next try; after the last it is like any other user's."""


log = logging.getLogger(NAME)  # not one of Pulseboard's own, of which a board takes nothing


class BalanceSyncSettings(msgspec.Struct, frozen=True):
    """How fast and how much; raises ValueError for what cannot be."""

    users_per_s: float = 3.0
    concurrency: int = 4
    pass_size: int = 10
    """Users per pass over the queues."""
    fill_interval_s: float = 5.0
    """How often users who are due fill the normal queue."""
    request_interval_s: float = 1.0
    """How often users handed on by discovery are looked for."""
    resync_after_s: float = 12.0
    """A balance older than this is due."""
    high_capacity: int = 100
    normal_capacity: int = 500

    def __post_init__(self) -> None:
        if not (0 < self.users_per_s < inf) or self.concurrency < 1 or self.pass_size < 1:
            raise ValueError("users_per_s, concurrency and pass_size must be above 0 and finite")
        if not (
            0 < self.fill_interval_s < inf
            and 0 < self.request_interval_s < inf
            and 0 <= self.resync_after_s < inf
        ):
            raise ValueError("intervals must be above 0, resync_after_s not below, and all finite")


class UserUnsyncable(Exception):
    """A user has no balance that could be synced."""


class BalanceSyncService:
    """Syncs users' balances; `sink` gets the status after each user and after each pass."""

    def __init__(
        self,
        bank: BankClient,
        database: Database,
        sink: StatusSink,
        settings: BalanceSyncSettings | None = None,
    ) -> None:
        self.settings = settings or BalanceSyncSettings()
        self.queues = SyncQueues(self.settings.high_capacity, self.settings.normal_capacity)
        self.tally = Tally()
        self.hold = Hold()
        self._bank = bank
        self._database = database
        self._sink = sink
        self._phase = "idle"
        self._wake = asyncio.Event()
        bank.on_retry = self.tally.count_retry

    def get_status(self) -> Status:
        """Give the whole status: what is going on, what waits, what became of it, and when."""
        return {
            "isRunning": self._phase == "syncing",
            "phase": "paused" if self.hold.held and self._phase == "idle" else self._phase,
            "highPriorityQueue": self.queues.high,
            "normalQueue": self.queues.normal,
            "inFlight": self.queues.in_work,
            **self.tally.counts(),
            "dropped": self.queues.dropped,
            **self.tally.times(),
            **self.tally.errors(),
        }

    def publish(self) -> None:
        """Publish the whole status."""
        self._sink.replace(self.get_status())

    def enqueue(self, user_id: int, *, high_priority: bool = False) -> bool:
        """Queue a user; False, and counted as dropped, when the queue is full."""
        queued = self.queues.offer_high(user_id) if high_priority else self.queues.offer(user_id)
        self._wake.set()
        return queued

    async def sync_user_balance(self, user_id: int) -> Decimal | None:
        """Fetch and store the balances of a user's accounts; give their sum, or None when that failed.

        Never raises for the bank or the database: the failure is counted, and `lastError` says it.
        """
        self.queues.start(user_id)
        try:
            with self.tally.timed():
                balance = await self._sync(user_id)
        except (BankError, StoreError, UserUnsyncable) as error:
            self.tally.count_failure(error)
            log.warning("user %d could not be synced: %s", user_id, error)
            await self._put_off(user_id)
            return None
        else:
            self.tally.done += 1
            log.info("user %d has %s", user_id, balance)
            return balance
        finally:
            self.queues.give_back(user_id)
            self._wake.set()
            self.publish()

    async def trigger(self, user_id: int) -> dict[str, str]:
        """Sync the balance of one user now."""
        if self.queues.is_in_work(user_id):
            raise CommandFailed(f"the balance of user {user_id} is being synced already")
        balance = await self.sync_user_balance(user_id)
        if balance is None:
            raise CommandFailed(self.tally.last_error or "it failed")
        return {"balance": str(balance)}

    async def process_queues(self, stop: asyncio.Event | None = None) -> int:
        """Make one pass over the queues, high priority first; give how many users were synced or failed."""
        stop = stop or asyncio.Event()
        slots = asyncio.Semaphore(self.settings.concurrency)
        taken = 0

        async def sync_in_slot(user_id: int) -> None:
            try:
                await self.sync_user_balance(user_id)
            finally:
                slots.release()

        self._phase = "syncing"
        try:
            async with asyncio.TaskGroup() as group:
                while taken < self.settings.pass_size:
                    await slots.acquire()
                    # Only then: meanwhile somebody may have become urgent, or the order to stop may have come.
                    user_id = None if stop.is_set() or self.hold.held else self.queues.take()
                    if user_id is None:
                        break
                    taken += 1
                    group.create_task(sync_in_slot(user_id))
                    await pause(stop, 1 / self.settings.users_per_s)
        finally:
            self._phase = "idle"
            self.publish()
        return taken

    async def fill_normal_queue(self) -> None:
        """Queue the users whose balance is due; those for whom there is no room wait in the database."""
        due = now_ms() - round(self.settings.resync_after_s * 1000)
        try:
            users = await list_due_users(self._database, due, self.queues.normal_room)
        except StoreError as error:
            self._note_error(error)
            return
        for user_id in users:
            self.enqueue(user_id)

    async def fill_high_queue(self) -> None:
        """Queue the users whom discovery handed on; those for whom there is no room wait in the database."""
        try:
            users = await list_requested_users(self._database, self.queues.high_room)
        except StoreError as error:
            self._note_error(error)
            return
        for user_id in users:
            if not self.queues.is_in_work(user_id):
                self.enqueue(user_id, high_priority=True)

    def _note_error(self, error: StoreError) -> None:
        # Nothing is queued, so no sync would come to tell it.
        self.tally.note_error(error)
        self.publish()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; users in work are finished."""
        self.publish()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    repeat(self.fill_normal_queue, self.settings.fill_interval_s, stop)
                )
                group.create_task(
                    repeat(self.fill_high_queue, self.settings.request_interval_s, stop)
                )
                group.create_task(self._work(stop))
        finally:
            self._phase = "stopped"

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            await self.hold.wait(stop)
            if not await self.process_queues(stop):
                await self._wait_for_work(stop)

    async def _wait_for_work(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._wake)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _sync(self, user_id: int) -> Decimal:
        asked_at = now_ms()
        accounts = await list_accounts_of(self._database, user_id)
        if not accounts:
            raise UserUnsyncable(f"user {user_id} has no account")
        balances = [
            (account, await self._bank.get_balance(account.account_id)) for account in accounts
        ]
        if len({balance.currency for _, balance in balances}) > 1:
            raise BankBadAnswer(f"user {user_id} holds several currencies, which have no sum")
        total = await store_balances(self._database, user_id, balances, asked_at=asked_at)
        return Decimal(total).scaleb(-2)

    async def _put_off(self, user_id: int) -> None:
        try:
            await put_off_request(self._database, user_id, _REQUEST_WAITS_MS)
        except StoreError as error:
            self.tally.note_error(error)
