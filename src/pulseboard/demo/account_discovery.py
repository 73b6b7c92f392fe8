"""account-discovery: pages through all of the bank's accounts, stores the new ones, hands their users on.

Invariant: each run publishes "discovering" when it starts and "idle" when it ends, however it ends (seed, section 5).
"""

from __future__ import annotations

import asyncio
import logging
from math import inf

import msgspec

from pulseboard.demo.bank_client import BankClient, BankError
from pulseboard.demo.control import CommandFailed, Hold
from pulseboard.demo.rhythm import pause, repeat
from pulseboard.demo.status import Status, StatusSink, Tally
from pulseboard.demo.store import Database, StoreError
from pulseboard.demo.store.accounts import add_accounts
from pulseboard.demo.store.database import now_ms

NAME = "account-discovery"


log = logging.getLogger(NAME)  # not one of Pulseboard's own, of which a board takes nothing


class AccountDiscoverySettings(msgspec.Struct, frozen=True):
    """How often and how gently; raises ValueError for what cannot be."""

    interval_s: float = 4.0
    """From the end of a run to the start of the next."""
    page_size: int | None = None
    """Accounts per page; the bank's own size when None."""
    page_pause_s: float = 0.15
    """Between pages, so that a run does not take all of the bank's patience."""

    def __post_init__(self) -> None:
        if not (0 < self.interval_s < inf and 0 <= self.page_pause_s < inf):
            raise ValueError("interval_s must be above 0, page_pause_s not below, and both finite")
        if self.page_size is not None and self.page_size < 1:
            raise ValueError("page_size must be at least 1")


class AccountDiscoveryService:
    """Discovers accounts; `sink` gets the status at the start, after each page and at the end of a run."""

    def __init__(
        self,
        bank: BankClient,
        database: Database,
        sink: StatusSink,
        settings: AccountDiscoverySettings | None = None,
    ) -> None:
        self.settings = settings or AccountDiscoverySettings()
        self.tally = Tally()
        self.hold = Hold()
        self._turn = asyncio.Lock()
        self._bank = bank
        self._database = database
        self._sink = sink
        self._phase = "idle"
        self._seen = 0
        self._new = 0
        self._discovered = 0
        self._next_run_at: int | None = None
        bank.on_retry = self.tally.count_retry

    def get_status(self) -> Status:
        """Give the whole status: of the run that goes on or was the last, then of all runs."""
        return {
            "isRunning": self._phase == "discovering",
            "phase": "paused" if self.hold.held and self._phase == "idle" else self._phase,
            "accountsSeen": self._seen,
            "newAccounts": self._new,
            "discovered": self._discovered,
            **self.tally.counts(),
            **self.tally.times(),
            "nextRunAt": self._next_run_at,
            **self.tally.errors(),
        }

    def publish(self) -> None:
        """Publish the whole status."""
        self._sink.replace(self.get_status())

    async def discover_new_accounts(self, stop: asyncio.Event | None = None) -> int | None:
        """Make one run; give how many accounts were new, or None when it failed, which is counted and in `lastError`.

        A run that is told to stop ends after the page in work and counts as neither done nor failed.
        """
        async with self._turn:
            return await self._discover(stop or asyncio.Event())

    async def trigger(self) -> dict[str, int]:
        """Look for new accounts now."""
        if self._turn.locked():
            raise CommandFailed("a run is going on already")
        new = await self.discover_new_accounts()
        if new is None:
            raise CommandFailed(self.tally.last_error or "it failed")
        return {"newAccounts": new}

    async def _discover(self, stop: asyncio.Event) -> int | None:
        self._phase, self._seen, self._new, self._next_run_at = "discovering", 0, 0, None
        self.publish()
        try:
            with self.tally.timed():
                await self._page_through(stop)
        except (BankError, StoreError) as error:
            self.tally.count_failure(error)
            log.warning("the run failed after %d accounts: %s", self._seen, error)
            return None
        else:
            self.tally.done += not stop.is_set()
            log.info("%d of %d accounts are new", self._new, self._seen)
            return self._new
        finally:
            self._phase = "idle"
            self._next_run_at = now_ms() + round(self.settings.interval_s * 1000)
            self.publish()

    async def run(self, stop: asyncio.Event) -> None:
        """Make a run on each interval until `stop`."""
        try:
            await repeat(
                lambda: self.discover_new_accounts(stop), self.settings.interval_s, stop, self.hold
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
            await pause(stop, self.settings.page_pause_s)
            if stop.is_set():
                return
