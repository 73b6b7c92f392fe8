"""The recorder: reads the whole feed at Redis itself, on a thread of its own, and notes what Redis loses of it.

It is what readers are held against, so it says itself when it missed something.
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Self

import redis

from chaos.ids import pack
from chaos.ledger import Break, Truth

KINDS = (b"status", b"lifecycle")
LOOK_EVERY_S = 0.2
BLOCK_MS = 100
REMEMBERED = 60_000
"""Vanished events further back than that no reader is about to be told of."""
PLAIN = b'{"service":"chaos-plain'
_NUMBER = re.compile(rb'"n":(\d+)')

Connect = Callable[[], redis.Redis]
"""Gives a client that does not connect again by itself: what Redis lost is looked for at each arrival."""


class Recorder:
    """All events of one feed, in order, from when it was started."""

    def __init__(self, connect: Connect, feed: str = "{pulseboard}:feed") -> None:
        self._connect = connect
        self._feed = feed
        self._cursor = "0-0"
        self._added = self._counted_to = (
            0  # how many entries the feed was ever given, up to which id
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-recorder", daemon=True)
        self.ids: array[int] = array("q")
        self.breaks: list[Break] = []
        self.adoptions: dict[int, int] = {}
        """How often each plain publish, by its number, is in the feed."""
        self._plain: dict[int, int] = {}
        self._unfinished: frozenset[int] | None = None
        self.problem: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def last(self) -> int:
        """The id of the last event read."""
        return self.ids[-1] if self.ids else 0

    @property
    def truth(self) -> Truth:
        """What was ever in the feed, and what of it Redis lost."""
        return Truth(self.ids, self.breaks)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._connect() as client:
                    self._look(client, arriving=True)
                    self._read(client)
            except (redis.RedisError, OSError):
                self._stopping.wait(0.05)
            except Exception as error:  # noqa: BLE001  (a recorder that died must void what is held against it)
                self.problem = f"the recorder failed: {error!r}"
                return

    def _read(self, client: redis.Redis) -> None:
        looked_at = time.monotonic()
        while not self._stopping.is_set():
            answer: Any = client.xread({self._feed: self._cursor}, count=5_000, block=BLOCK_MS)
            for _, rows in answer:
                self._record(rows)
            if time.monotonic() - looked_at > LOOK_EVERY_S:
                self._look(client)
                looked_at = time.monotonic()

    def _record(self, rows: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        if self._unfinished is not None:
            self.breaks.append(Break(self._unfinished, pack(rows[0][0])))
            self._unfinished = None
        for text, fields in rows:
            id = pack(text)
            self._added += id > self._counted_to
            if fields.get(b"kind") not in KINDS:
                continue
            self.ids.append(id)
            data = fields[b"data"]
            if data.startswith(PLAIN) and (number := _NUMBER.search(data)):
                n = self._plain[id] = int(number[1])
                self.adoptions[n] = self.adoptions.get(n, 0) + 1
        self._cursor = rows[-1][0].decode()

    def _look(self, client: redis.Redis, *, arriving: bool = False) -> None:
        """See whether the feed is still the one that was read, and whether all of it was."""
        try:
            info: Any = client.xinfo_stream(self._feed)
        except redis.ResponseError as error:
            if "no such key" not in str(error).lower():
                raise
            if self._added:
                self._added, self._unfinished = 0, self._vanish(self.ids[-REMEMBERED:])
            return
        self._counted_to = pack(info["last-generated-id"])
        first, added = (
            pack(info["first-entry"][0]) if info["first-entry"] else 0,
            int(info["entries-added"]),
        )
        restarted, self._added = added < self._added, added
        cursor = pack(self._cursor.encode())
        if self._unfinished is not None:
            return
        if arriving:
            if self.ids and not client.xrange(self._feed, self._cursor, self._cursor):
                self._unfinished = self._compare(client, first)
        elif restarted:
            vanished = self._vanish(id for id in self.ids[-REMEMBERED:] if id < first)
            if first > cursor:
                self._unfinished = vanished
            else:  # some of what came after is read already
                self.breaks.append(Break(vanished, first))
        elif first > cursor > 0:
            self.problem = "the recorder fell behind the feed and missed events"

    def _compare(self, client: redis.Redis, first: int) -> frozenset[int]:
        """Return what a Redis that came back, or another that took over, does not have of what was read."""
        rows: Any = client.xrange(self._feed)
        present = {pack(text) for text, _ in rows}
        known = self.ids[-REMEMBERED:]
        shares_some = not present.isdisjoint(known)
        return self._vanish(
            id for id in known if id not in present and (id >= first or not shares_some)
        )

    def _vanish(self, ids: Iterable[int]) -> frozenset[int]:
        vanished = frozenset(ids)
        for id in vanished:
            if (n := self._plain.pop(id, None)) is not None:
                self.adoptions[n] -= 1
        return vanished
