"""Reads the feed directly from Redis, and records its events and those that Redis loses.

The record has the events that every client must receive, so a recorder that fails must report that
in `problem`. The recorder has its own thread.
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
"""The kinds of events that are recorded: a client must receive each of them."""
CHECK_EVERY_S = 0.2
BLOCK_MS = 100
MAX_COMPARED = 60_000
"""Number of recent events among which the recorder looks for losses. A client that reconnects has
missed fewer events."""
EXTERNAL_PREFIX = b'{"service":"chaos-external'
_NUMBER = re.compile(rb'"n":(\d+)')

Connect = Callable[[], redis.Redis]
"""Returns a client that does not reconnect by itself: the recorder checks each new connection for
losses."""


class FeedRecorder:
    """The status and lifecycle events of one feed, in order, from the start of the recorder."""

    def __init__(self, connect: Connect, feed: str = "{pulseboard}:feed") -> None:
        self._connect = connect
        self._feed = feed
        self._cursor = "0-0"
        # The number of entries that were ever added to the feed, and the last id included in it.
        self._added = self._last_counted = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-recorder", daemon=True)
        self.ids: array[int] = array("q")
        """The packed id of each recorded event (chaos/ids.py)."""
        self.losses: list[DataLoss] = []
        self.ingested: dict[int, int] = {}
        """Number of an external message -> how many entries of the feed contain the message."""
        self._external: dict[int, int] = {}
        """Id of an entry -> number of the external message that the entry contains."""
        self._pending_loss: frozenset[int] | None = None
        """Lost events of a loss that `losses` does not have yet, because no event has followed."""
        self.problem: str | None = None
        """The reason why the record is incomplete; None if it is complete."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def last_id(self) -> int:
        """The id of the last recorded event; 0 if there is none."""
        return self.ids[-1] if self.ids else 0

    @property
    def feed(self) -> FeedLog:
        """All recorded events, and the losses."""
        return FeedLog(self.ids, self.losses)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._connect() as client:
                    self._check_feed(client, is_new_connection=True)
                    self._read(client)
            except (redis.RedisError, OSError):
                self._stopping.wait(0.05)
            # Report any other error, because the record is incomplete from here on.
            except Exception as error:  # noqa: BLE001
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
        """Record the events that Redis has lost; set `problem` if the recorder missed some."""
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
        """Return the recorded events that a restarted Redis or a new master does not have.

        Events before the first entry of the feed were trimmed, not lost. But if the feed has none
        of the recorded events, Redis has lost all of them.
        """
        rows: Any = client.xrange(self._feed)
        present = {pack(text) for text, _ in rows}
        known = self.ids[-MAX_COMPARED:]
        has_some_known = not present.isdisjoint(known)
        return self._record_loss(
            id for id in known if id not in present and (id >= first or not has_some_known)
        )

    def _record_loss(self, ids: Iterable[int]) -> frozenset[int]:
        lost = frozenset(ids)
        for id in lost:
            if (n := self._external.pop(id, None)) is not None:
                self.ingested[n] -= 1
        return lost
