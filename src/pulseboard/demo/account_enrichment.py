"""account-enrichment: fetches the detail of discovered accounts and completes their rows.

An account whose detail keeps failing is put off, longer each time, and given up after a number of tries. Invariant:
each run publishes when it starts and when it ends, however it ends (seed, section 5).
"""

from __future__ import annotations

import asyncio
import logging
from math import inf

import msgspec

from pulseboard.demo.bank_client import BankClient, BankError
from pulseboard.demo.control import CommandFailed, Hold
from pulseboard.demo.rhythm import repeat
from pulseboard.demo.status import Status, StatusSink, Tally
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.accounts import (
    PendingAccount,
    complete_account,
    count_pending,
    list_pending,
    put_off_account,
)
from pulseboard.demo.store.database import now_ms

NAME = "account-enrichment"


log = logging.getLogger(NAME)  # not one of Pulseboard's own, of which a board takes nothing


class AccountEnrichmentSettings(msgspec.Struct, frozen=True):
    """How often, how many and how patiently; raises ValueError for what cannot be."""

    interval_s: float = 2.0
    """From the end of a run to the start of the next."""
    batch_size: int = 8
    concurrency: int = 3
    max_tries: int = 5
    """An account that failed so often is given up."""
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        if (
            not 0 < self.interval_s < inf
            or min(self.batch_size, self.concurrency, self.max_tries) < 1
        ):
            raise ValueError(
                "interval_s, batch_size, concurrency and max_tries must be above 0 and finite"
            )
        if not 0 <= self.first_wait_s <= self.longest_wait_s < inf:
            raise ValueError("first_wait_s must lie between 0 and longest_wait_s")

    def wait_ms(self, tries: int) -> int | None:
        """Give the wait after so many failed tries, doubling; None when that was the last."""
        if tries >= self.max_tries:
            return None
        return round(1000 * min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(tries - 1, 32)))


class AccountEnrichmentService:
    """Enriches accounts; `sink` gets the status at the start, after each account and at the end of a run."""

    def __init__(
        self,
        bank: BankClient,
        database: Database,
        sink: StatusSink,
        settings: AccountEnrichmentSettings | None = None,
    ) -> None:
        self.settings = settings or AccountEnrichmentSettings()
        self.tally = Tally()
        self.hold = Hold()
        self._turn = asyncio.Lock()
        self._bank = bank
        self._database = database
        self._sink = sink
        self._phase = "idle"
        self._pending = 0
        self._in_flight = 0
        self._given_up = 0
        self._next_run_at: int | None = None
        bank.on_retry = self.tally.count_retry

    def get_status(self) -> Status:
        """Give the whole status: what is going on, what waits, what became of it, and when."""
        return {
            "isRunning": self._phase == "enriching",
            "phase": "paused" if self.hold.held and self._phase == "idle" else self._phase,
            "pending": self._pending,
            "inFlight": self._in_flight,
            **self.tally.counts(),
            "givenUp": self._given_up,
            **self.tally.times(),
            "nextRunAt": self._next_run_at,
            **self.tally.errors(),
        }

    def publish(self) -> None:
        """Publish the whole status."""
        self._sink.replace(self.get_status())

    async def enrich_accounts(self, stop: asyncio.Event | None = None) -> int:
        """Make one run over a batch of accounts; give how many were completed. Failures are counted, not raised."""
        async with self._turn:
            return await self._enrich_some(stop or asyncio.Event())

    async def trigger(self) -> dict[str, int]:
        """Complete the accounts that wait now, a batch of them."""
        if self._turn.locked():
            raise CommandFailed("a run is going on already")
        return {"completed": await self.enrich_accounts()}

    async def _enrich_some(self, stop: asyncio.Event) -> int:
        before = self.tally.done
        self._phase, self._next_run_at = "enriching", None
        self.publish()
        try:
            with self.tally.timed():
                await self._enrich_batch(
                    await list_pending(self._database, self.settings.batch_size), stop
                )
                self._pending = await count_pending(self._database)
        except StoreError as error:
            self.tally.count_failure(error)
        finally:
            self._phase = "idle"
            self._next_run_at = now_ms() + round(self.settings.interval_s * 1000)
            self.publish()
        return self.tally.done - before

    async def run(self, stop: asyncio.Event) -> None:
        """Make a run on each interval until `stop`; accounts in work are finished."""
        try:
            await repeat(
                lambda: self.enrich_accounts(stop), self.settings.interval_s, stop, self.hold
            )
        finally:
            self._phase, self._next_run_at = "stopped", None

    async def _enrich_batch(self, accounts: list[PendingAccount], stop: asyncio.Event) -> None:
        slots = asyncio.Semaphore(self.settings.concurrency)

        async def enrich_in_slot(account: PendingAccount) -> None:
            async with slots:
                if not stop.is_set():
                    await self._enrich_counted(account)

        self._pending = max(self._pending, len(accounts))
        async with asyncio.TaskGroup() as group:
            for account in accounts:
                group.create_task(enrich_in_slot(account))

    async def _enrich_counted(self, account: PendingAccount) -> None:
        self._in_flight += 1
        try:
            await self._enrich(account)
        except BankError as error:
            self.tally.count_failure(error)
            log.warning("account %s could not be completed: %s", account.account_id, error)
            await self._put_off(account, error)
        except StoreError as error:
            self.tally.count_failure(error)
        else:
            self.tally.done += 1
            self._pending = max(0, self._pending - 1)
            log.info("account %s is complete", account.account_id)
        finally:
            self._in_flight -= 1
            self.publish()

    async def _enrich(self, account: PendingAccount) -> None:
        detail = await self._bank.get_account(account.account_id)
        name = (
            None
            if account.user_is_named
            else (await self._bank.get_customer(account.customer_id)).name
        )
        await complete_account(self._database, account, detail, name)

    async def _put_off(self, account: PendingAccount, error: BankError) -> None:
        wait_ms = self.settings.wait_ms(account.tries + 1)
        try:
            await put_off_account(self._database, account, str(error), wait_ms)
        except StoreError as failure:
            self.tally.note_error(failure)
            return
        if wait_ms is None:
            self._given_up += 1
