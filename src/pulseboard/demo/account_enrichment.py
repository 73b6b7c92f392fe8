"""account-enrichment: fetches the details of discovered accounts and completes their rows.

An account that fails is postponed with a growing wait, and abandoned after `max_tries` failures.
Invariant: each run publishes when it starts and when it ends, also after a failure (original
specification, section 5).
"""

from __future__ import annotations

import asyncio
import logging
from math import inf

import msgspec

from pulseboard.demo.bank_client import BankClient, BankError
from pulseboard.demo.commands import CommandFailed, PauseSwitch
from pulseboard.demo.periodic import repeat
from pulseboard.demo.status import RunStats, Status, StatusSink
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.accounts import (
    PendingAccount,
    complete_account,
    count_pending,
    list_pending,
    postpone_account,
)
from pulseboard.demo.store.database import now_ms

NAME = "account-enrichment"


# The SDK never sends log lines of "pulseboard" loggers to a board, so the name is outside of it.
log = logging.getLogger(NAME)


class AccountEnrichmentSettings(msgspec.Struct, frozen=True):
    """Pace, batch size and retries; raises ValueError when a value is out of range."""

    interval_s: float = 2.0
    """Seconds from the end of a run to the start of the next."""
    batch_size: int = 8
    concurrency: int = 3
    max_tries: int = 5
    """An account is abandoned after this number of failures."""
    first_wait_s: float = 2.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        if (
            not 0 < self.interval_s < inf
            or min(self.batch_size, self.concurrency, self.max_tries) < 1
        ):
            raise ValueError(
                "interval_s, batch_size, concurrency and max_tries must be > 0 and finite"
            )
        if not 0 <= self.first_wait_s <= self.longest_wait_s < inf:
            raise ValueError("first_wait_s must be between 0 and longest_wait_s")

    def wait_ms(self, tries: int) -> int | None:
        """Return the wait after `tries` failures, doubling; None when the account is abandoned."""
        if tries >= self.max_tries:
            return None
        return round(1000 * min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(tries - 1, 32)))


class AccountEnrichmentService:
    """Enriches accounts; publishes to `sink` at the start and end of a run and per account."""

    def __init__(
        self,
        bank: BankClient,
        database: Database,
        sink: StatusSink,
        settings: AccountEnrichmentSettings | None = None,
    ) -> None:
        self.settings = settings or AccountEnrichmentSettings()
        self.stats = RunStats()
        self.pause_switch = PauseSwitch()
        self._run_lock = asyncio.Lock()
        self._bank = bank
        self._database = database
        self._sink = sink
        self._phase = "idle"
        self._pending = 0
        self._in_flight = 0
        self._abandoned = 0
        self._next_run_at: int | None = None
        bank.on_retry = self.stats.count_retry

    def get_status(self) -> Status:
        """Return the status: phase, pending and active accounts, results, times, last error."""
        return {
            "isRunning": self._phase == "enriching",
            "phase": (
                "paused" if self.pause_switch.is_paused and self._phase == "idle" else self._phase
            ),
            "pending": self._pending,
            "inFlight": self._in_flight,
            **self.stats.counts(),
            "abandoned": self._abandoned,
            **self.stats.times(),
            "nextRunAt": self._next_run_at,
            **self.stats.errors(),
        }

    def publish(self) -> None:
        """Publish the complete status."""
        self._sink.replace(self.get_status())

    async def enrich_accounts(self, stop: asyncio.Event | None = None) -> int:
        """Enrich one batch; return the number of completed accounts. Failures are counted."""
        async with self._run_lock:
            return await self._run_once(stop or asyncio.Event())

    async def trigger(self) -> dict[str, int]:
        """Enrich a batch of pending accounts now."""
        if self._run_lock.locked():
            raise CommandFailed("a run is in progress; try again when it has ended")
        return {"completed": await self.enrich_accounts()}

    async def _run_once(self, stop: asyncio.Event) -> int:
        before = self.stats.done
        self._phase, self._next_run_at = "enriching", None
        self.publish()
        try:
            with self.stats.timed():
                await self._enrich_batch(
                    await list_pending(self._database, self.settings.batch_size), stop
                )
                self._pending = await count_pending(self._database)
        except StoreError as error:
            self.stats.count_failure(error)
        finally:
            self._phase = "idle"
            self._next_run_at = now_ms() + round(self.settings.interval_s * 1000)
            self.publish()
        return self.stats.done - before

    async def run(self, stop: asyncio.Event) -> None:
        """Enrich batches periodically until `stop`; accounts in progress are finished."""
        try:
            await repeat(
                lambda: self.enrich_accounts(stop),
                self.settings.interval_s,
                stop,
                self.pause_switch,
            )
        finally:
            self._phase, self._next_run_at = "stopped", None

    async def _enrich_batch(self, accounts: list[PendingAccount], stop: asyncio.Event) -> None:
        slots = asyncio.Semaphore(self.settings.concurrency)

        async def enrich_in_slot(account: PendingAccount) -> None:
            async with slots:
                if not stop.is_set():
                    await self._enrich_and_count(account)

        self._pending = max(self._pending, len(accounts))
        async with asyncio.TaskGroup() as group:
            for account in accounts:
                group.create_task(enrich_in_slot(account))

    async def _enrich_and_count(self, account: PendingAccount) -> None:
        self._in_flight += 1
        try:
            await self._enrich(account)
        except BankError as error:
            self.stats.count_failure(error)
            log.warning("account %s could not be completed: %s", account.account_id, error)
            await self._postpone(account, error)
        except StoreError as error:
            self.stats.count_failure(error)
        else:
            self.stats.done += 1
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

    async def _postpone(self, account: PendingAccount, error: BankError) -> None:
        wait_ms = self.settings.wait_ms(account.tries + 1)
        try:
            await postpone_account(self._database, account, str(error), wait_ms)
        except StoreError as failure:
            self.stats.note_error(failure)
            return
        if wait_ms is None:
            self._abandoned += 1
