"""balance-sync: keeps the balance of every user up to date, high-priority users first.

A pass pops users from the queues at a configured pace and syncs several concurrently; other tasks
fill the queues from the database. Invariant: a failure of the bank or of the database fails the
sync of a user, never the service.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from math import inf

import msgspec

from pulseboard.demo.bank_client import BankClient, BankError, BankInvalidResponse
from pulseboard.demo.commands import CommandFailed, PauseSwitch
from pulseboard.demo.periodic import repeat, sleep_until_stop
from pulseboard.demo.queues import SyncQueues
from pulseboard.demo.status import RunStats, Status, StatusSink
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.balances import (
    list_accounts_of,
    list_due_users,
    list_requested_users,
    postpone_request,
    store_balances,
)
from pulseboard.demo.store.database import now_ms

NAME = "balance-sync"
_REQUEST_WAITS_MS = (2_000, 5_000, 15_000, 60_000)
"""Waits after each failure of a requested sync. After the last one the request is deleted, and the
user is synced in the normal order."""

# The SDK never sends log lines of "pulseboard" loggers to a board, so the name is outside of it.
log = logging.getLogger(NAME)


class BalanceSyncSettings(msgspec.Struct, frozen=True):
    """Pace and capacities; raises ValueError when a value is out of range."""

    users_per_s: float = 3.0
    concurrency: int = 4
    pass_size: int = 10
    """Users per pass over the queues."""
    fill_interval_s: float = 5.0
    """Seconds between two fills of the normal queue with users whose balance is due."""
    request_interval_s: float = 1.0
    """Seconds between two queries for sync requests from account-discovery."""
    resync_after_s: float = 12.0
    """A balance older than this number of seconds is due."""
    high_capacity: int = 100
    normal_capacity: int = 500

    def __post_init__(self) -> None:
        if not (0 < self.users_per_s < inf) or self.concurrency < 1 or self.pass_size < 1:
            raise ValueError("users_per_s, concurrency and pass_size must be > 0 and finite")
        if not (
            0 < self.fill_interval_s < inf
            and 0 < self.request_interval_s < inf
            and 0 <= self.resync_after_s < inf
        ):
            raise ValueError("intervals must be > 0, resync_after_s must be >= 0, all finite")


class UserNotSyncable(Exception):
    """A user has no account whose balance can be synced."""


class BalanceSyncService:
    """Syncs the balances of users; publishes to `sink` after each user and after each pass."""

    def __init__(
        self,
        bank: BankClient,
        database: Database,
        sink: StatusSink,
        settings: BalanceSyncSettings | None = None,
    ) -> None:
        self.settings = settings or BalanceSyncSettings()
        self.queues = SyncQueues(self.settings.high_capacity, self.settings.normal_capacity)
        self.stats = RunStats()
        self.pause_switch = PauseSwitch()
        self._bank = bank
        self._database = database
        self._sink = sink
        self._phase = "idle"
        self._wake = asyncio.Event()
        bank.on_retry = self.stats.count_retry

    def get_status(self) -> Status:
        """Return the status: phase, queued and active users, results, times, last error."""
        return {
            "isRunning": self._phase == "syncing",
            "phase": (
                "paused" if self.pause_switch.is_paused and self._phase == "idle" else self._phase
            ),
            "highPriorityQueue": self.queues.high,
            "normalQueue": self.queues.normal,
            "inFlight": self.queues.active,
            **self.stats.counts(),
            "dropped": self.queues.dropped,
            **self.stats.times(),
            **self.stats.errors(),
        }

    def publish(self) -> None:
        """Publish the complete status."""
        self._sink.replace(self.get_status())

    def enqueue(self, user_id: int, *, high_priority: bool = False) -> bool:
        """Queue a user; when the queue is full, count the user as dropped and return False."""
        queued = self.queues.put_high(user_id) if high_priority else self.queues.put(user_id)
        self._wake.set()
        return queued

    async def sync_user_balance(self, user_id: int) -> Decimal | None:
        """Fetch and store the balances of a user's accounts; return their sum, None on failure.

        A failure of the bank or of the database is not raised. It is counted and put into
        `lastError`.
        """
        self.queues.start(user_id)
        try:
            with self.stats.timed():
                balance = await self._sync(user_id)
        except (BankError, StoreError, UserNotSyncable) as error:
            self.stats.count_failure(error)
            log.warning("user %d could not be synced: %s", user_id, error)
            await self._postpone(user_id)
            return None
        else:
            self.stats.done += 1
            log.info("user %d has a balance of %s", user_id, balance)
            return balance
        finally:
            self.queues.finish(user_id)
            self._wake.set()
            self.publish()

    async def trigger(self, user_id: int) -> dict[str, str]:
        """Sync the balance of one user now."""
        if self.queues.is_active(user_id):
            raise CommandFailed(f"a sync of user {user_id} is in progress; try again later")
        balance = await self.sync_user_balance(user_id)
        if balance is None:
            raise CommandFailed(self.stats.last_error or "the sync failed")
        return {"balance": str(balance)}

    async def process_queues(self, stop: asyncio.Event | None = None) -> int:
        """Make one pass over the queues; return how many users it tried to sync."""
        stop = stop or asyncio.Event()
        slots = asyncio.Semaphore(self.settings.concurrency)
        started = 0

        async def sync_in_slot(user_id: int) -> None:
            try:
                await self.sync_user_balance(user_id)
            finally:
                slots.release()

        self._phase = "syncing"
        try:
            async with asyncio.TaskGroup() as group:
                while started < self.settings.pass_size:
                    await slots.acquire()
                    # Pop after the wait for a slot: a high-priority user, a stop or a pause may
                    # have arrived during the wait.
                    is_stopping = stop.is_set() or self.pause_switch.is_paused
                    user_id = None if is_stopping else self.queues.pop()
                    if user_id is None:
                        break
                    started += 1
                    group.create_task(sync_in_slot(user_id))
                    await sleep_until_stop(stop, 1 / self.settings.users_per_s)
        finally:
            self._phase = "idle"
            self.publish()
        return started

    async def fill_normal_queue(self) -> None:
        """Queue users whose balance is due, up to the free capacity of the normal queue."""
        due = now_ms() - round(self.settings.resync_after_s * 1000)
        try:
            users = await list_due_users(self._database, due, self.queues.normal_capacity_left)
        except StoreError as error:
            self._note_error(error)
            return
        for user_id in users:
            self.enqueue(user_id)

    async def fill_high_queue(self) -> None:
        """Queue users with a sync request, up to the free capacity of the high-priority queue."""
        try:
            users = await list_requested_users(self._database, self.queues.high_capacity_left)
        except StoreError as error:
            self._note_error(error)
            return
        for user_id in users:
            if not self.queues.is_active(user_id):
                self.enqueue(user_id, high_priority=True)

    def _note_error(self, error: StoreError) -> None:
        # When no user is queued, no sync follows that would publish the error.
        self.stats.note_error(error)
        self.publish()

    async def run(self, stop: asyncio.Event) -> None:
        """Fill and process the queues until `stop`; active syncs are finished."""
        self.publish()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    repeat(self.fill_normal_queue, self.settings.fill_interval_s, stop)
                )
                group.create_task(
                    repeat(self.fill_high_queue, self.settings.request_interval_s, stop)
                )
                group.create_task(self._process_until_stop(stop))
        finally:
            self._phase = "stopped"

    async def _process_until_stop(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            await self.pause_switch.wait_until_resumed(stop)
            if not await self.process_queues(stop):
                await self._wait_for_user(stop)

    async def _wait_for_user(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._wake)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _sync(self, user_id: int) -> Decimal:
        started_at = now_ms()
        accounts = await list_accounts_of(self._database, user_id)
        if not accounts:
            raise UserNotSyncable(f"user {user_id} has no account")
        balances = [
            (account, await self._bank.get_balance(account.account_id)) for account in accounts
        ]
        if len({balance.currency for _, balance in balances}) > 1:
            raise BankInvalidResponse(f"user {user_id} has accounts in several currencies")
        total = await store_balances(self._database, user_id, balances, started_at=started_at)
        return Decimal(total).scaleb(-2)

    async def _postpone(self, user_id: int) -> None:
        try:
            await postpone_request(self._database, user_id, _REQUEST_WAITS_MS)
        except StoreError as error:
            self.stats.note_error(error)
