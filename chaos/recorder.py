"""Reads the whole feed directly from Redis and records which events Redis loses.

The recorder has a thread of its own. The deliveries to clients are compared with this record, so
the recorder reports its own failures.
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Self

import redis

from chaos.deliveries import DataLoss, FeedLog
from chaos.ids import pack

KINDS = (b"status", b"lifecycle")
CHECK_EVERY_S = 0.2
BLOCK_MS = 100
MAX_COMPARED = 60_000
"""Number of recent events that are searched for losses. Clients resume from more recent ones."""
EXTERNAL_PREFIX = b'{"service":"chaos-external'
_NUMBER = re.compile(rb'"n":(\d+)')

Connect = Callable[[], redis.Redis]
"""Returns a client that does not reconnect by itself: each new connection is checked for losses."""


class FeedRecorder:
    """All events of one feed, in order, from the start of the recorder."""

    def __init__(self, connect: Connect, feed: str = "{pulseboard}:feed") -> None:
        self._connect = connect
        self._feed = feed
        self._cursor = "0-0"
        # The number of entries that were ever added to the feed, and the last id that it includes.
        self._added = self._last_counted = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-recorder", daemon=True)
        self.ids: array[int] = array("q")
        self.losses: list[DataLoss] = []
        self.ingested: dict[int, int] = {}
        """The number of entries in the feed, by number of the external message."""
        self._external: dict[int, int] = {}
        self._pending_loss: frozenset[int] | None = None
        """Lost events; the loss is complete when the next event shows where the feed resumes."""
        self.problem: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def last_id(self) -> int:
        """The id of the last event read."""
        return self.ids[-1] if self.ids else 0

    @property
    def feed(self) -> FeedLog:
        """All events that were ever in the feed, and the losses."""
        return FeedLog(self.ids, self.losses)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._connect() as client:
                    self._check_feed(client, is_new_connection=True)
                    self._read(client)
            except (redis.RedisError, OSError):
                self._stopping.wait(0.05)
            except Exception as error:  # noqa: BLE001  (an incomplete record invalidates the run)
                self.problem = f"the recorder failed: {error!r}"
                return

    def _read(self, client: redis.Redis) -> None:
        checked_at = time.monotonic()
        while not self._stopping.is_set():
            response: Any = client.xread({self._feed: self._cursor}, count=5_000, block=BLOCK_MS)
            for _, rows in response:
                self._record(rows)
            if time.monotonic() - checked_at > CHECK_EVERY_S:
                self._check_feed(client)
                checked_at = time.monotonic()

    def _record(self, rows: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        if self._pending_loss is not None:
            self.losses.append(DataLoss(self._pending_loss, pack(rows[0][0])))
            self._pending_loss = None
        for text, fields in rows:
            id = pack(text)
            self._added += id > self._last_counted
            if fields.get(b"kind") not in KINDS:
                continue
            self.ids.append(id)
            data = fields[b"data"]
            if data.startswith(EXTERNAL_PREFIX) and (number := _NUMBER.search(data)):
                n = self._external[id] = int(number[1])
                self.ingested[n] = self.ingested.get(n, 0) + 1
        self._cursor = rows[-1][0].decode()

    def _check_feed(self, client: redis.Redis, *, is_new_connection: bool = False) -> None:
        """Check that Redis still has the feed that was read, and that no entry was missed."""
        try:
            info: Any = client.xinfo_stream(self._feed)
        except redis.ResponseError as error:
            if "no such key" not in str(error).lower():
                raise
            if self._added:
                self._added, self._pending_loss = 0, self._record_loss(self.ids[-MAX_COMPARED:])
            return
        self._last_counted = pack(info["last-generated-id"])
        first, added = (
            pack(info["first-entry"][0]) if info["first-entry"] else 0,
            int(info["entries-added"]),
        )
        restarted, self._added = added < self._added, added
        cursor = pack(self._cursor.encode())
        if self._pending_loss is not None:
            return
        if is_new_connection:
            if self.ids and not client.xrange(self._feed, self._cursor, self._cursor):
                self._pending_loss = self._compare(client, first)
        elif restarted:
            lost = self._record_loss(id for id in self.ids[-MAX_COMPARED:] if id < first)
            if first > cursor:
                self._pending_loss = lost
            else:  # the recorder has read newer entries already
                self.losses.append(DataLoss(lost, first))
        elif first > cursor > 0:
            self.problem = "the recorder fell behind the feed and missed events"

    def _compare(self, client: redis.Redis, first: int) -> frozenset[int]:
        """Return the recorded events that a restarted Redis or a new master does not have."""
        rows: Any = client.xrange(self._feed)
        present = {pack(text) for text, _ in rows}
        known = self.ids[-MAX_COMPARED:]
        shares_some = not present.isdisjoint(known)
        return self._record_loss(
            id for id in known if id not in present and (id >= first or not shares_some)
        )

    def _record_loss(self, ids: Iterable[int]) -> frozenset[int]:
        lost = frozenset(ids)
        for id in lost:
            if (n := self._external.pop(id, None)) is not None:
                self.ingested[n] -= 1
        return lost
