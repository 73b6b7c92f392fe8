"""account-discovery: reads the bank's accounts page by page and stores the new ones.

It requests a balance sync for the users of new accounts. Invariant: each run publishes
"discovering" when it starts and "idle" when it ends, also after a failure (original specification,
section 5).
"""

from __future__ import annotations

import asyncio
import logging
from math import inf

import msgspec

from pulseboard.demo.bank_client import BankClient, BankError
from pulseboard.demo.commands import CommandFailed, PauseSwitch
from pulseboard.demo.periodic import repeat, sleep_until_stop
from pulseboard.demo.status import RunStats, Status, StatusSink
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.accounts import add_accounts
from pulseboard.demo.store.database import now_ms

NAME = "account-discovery"


# The SDK never sends log lines of "pulseboard" loggers to a board, so the name is outside of it.
log = logging.getLogger(NAME)


class AccountDiscoverySettings(msgspec.Struct, frozen=True):
    """The pace of account-discovery; raises ValueError when a value is out of range."""

    interval_s: float = 4.0
    """Seconds from the end of a run to the start of the next."""
    page_size: int | None = None
    """Accounts per page; None means the bank's default."""
    page_pause_s: float = 0.15
    """Seconds between pages, so that a run does not trigger the rate limit of the bank."""

    def __post_init__(self) -> None:
        if not (0 < self.interval_s < inf and 0 <= self.page_pause_s < inf):
            raise ValueError("interval_s must be > 0, page_pause_s must be >= 0, both finite")
        if self.page_size is not None and self.page_size < 1:
            raise ValueError("page_size must be at least 1")


class AccountDiscoveryService:
    """Discovers accounts; publishes to `sink` at the start and end of a run and per page."""

    def __init__(
        self,
        bank: BankClient,
        database: Database,
        sink: StatusSink,
        settings: AccountDiscoverySettings | None = None,
    ) -> None:
        self.settings = settings or AccountDiscoverySettings()
        self.stats = RunStats()
        self.pause_switch = PauseSwitch()
        self._run_lock = asyncio.Lock()
        self._bank = bank
        self._database = database
        self._sink = sink
        self._phase = "idle"
        self._seen = 0
        self._new = 0
        self._discovered = 0
        self._next_run_at: int | None = None
        bank.on_retry = self.stats.count_retry

    def get_status(self) -> Status:
        """Return the status: figures of the current or last run, then of all runs."""
        return {
            "isRunning": self._phase == "discovering",
            "phase": (
                "paused" if self.pause_switch.is_paused and self._phase == "idle" else self._phase
            ),
            "accountsSeen": self._seen,
            "newAccounts": self._new,
            "discovered": self._discovered,
            **self.stats.counts(),
            **self.stats.times(),
            "nextRunAt": self._next_run_at,
            **self.stats.errors(),
        }

    def publish(self) -> None:
        """Publish the complete status."""
        self._sink.replace(self.get_status())

    async def discover_new_accounts(self, stop: asyncio.Event | None = None) -> int | None:
        """Make one run; return the number of new accounts, or None after a failure.

        A failure is counted and put into `lastError`. A run that is stopped ends after the current
        page and counts as neither done nor failed.
        """
        async with self._run_lock:
            return await self._discover(stop or asyncio.Event())

    async def trigger(self) -> dict[str, int]:
        """Discover new accounts now."""
        if self._run_lock.locked():
            raise CommandFailed("a run is in progress; try again when it has ended")
        new = await self.discover_new_accounts()
        if new is None:
            raise CommandFailed(self.stats.last_error or "the run failed")
        return {"newAccounts": new}

    async def _discover(self, stop: asyncio.Event) -> int | None:
        self._phase, self._seen, self._new, self._next_run_at = "discovering", 0, 0, None
        self.publish()
        try:
            with self.stats.timed():
                await self._page_through(stop)
        except (BankError, StoreError) as error:
            self.stats.count_failure(error)
            log.warning("discovery failed after %d accounts: %s", self._seen, error)
            return None
        else:
            self.stats.done += not stop.is_set()
            log.info("%d of %d accounts are new", self._new, self._seen)
            return self._new
        finally:
            self._phase = "idle"
            self._next_run_at = now_ms() + round(self.settings.interval_s * 1000)
            self.publish()

    async def run(self, stop: asyncio.Event) -> None:
        """Discover accounts periodically until `stop`."""
        try:
            await repeat(
                lambda: self.discover_new_accounts(stop),
                self.settings.interval_s,
                stop,
                self.pause_switch,
            )
        finally:
            self._phase, self._next_run_at = "stopped", None

    async def _page_through(self, stop: asyncio.Event) -> None:
        async for entries in self._bank.iterate_accounts(self.settings.page_size):
            new = await add_accounts(self._database, entries)
            self._seen += len(entries)
            self._new += new
            self._discovered += new
            self.publish()
            await sleep_until_stop(stop, self.settings.page_pause_s)
            if stop.is_set():
                return
