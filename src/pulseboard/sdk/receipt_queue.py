"""The queue of receipts, from the threads that run commands to the sender."""

from pulseboard.sdk.bounded_queue import BoundedQueue
from pulseboard.sdk.buffer import NEVER
from pulseboard.wire.codec import json_text
from pulseboard.wire.events.receipt import Receipt

MAX_RECEIPTS, MAX_BYTES, BATCH_MAX = 1_000, 4 * 1024 * 1024, 50
ENVELOPE_BYTES = 400
"""Bytes of a receipt's JSON beside its result, error and reason: names, ids and numbers."""


class ReceiptQueue(BoundedQueue[Receipt]):
    """Receipts, oldest first, each due at once. Redis takes them one by one."""

    def __init__(self) -> None:
        super().__init__(MAX_RECEIPTS, MAX_BYTES, BATCH_MAX, _size)

    def due(self) -> float:
        """Return 0.0 (at once) if a receipt waits."""
        return 0.0 if self.ledger.held or self else NEVER

    def drain(self) -> Receipt | None:
        """Return the oldest receipt."""
        # Up to BATCH_MAX receipts leave the queue together, since each look at it copies it.
        if not self.ledger.held and (removed := self.read()[1][:BATCH_MAX]):
            self.advance(tuple(receipt for receipt, _ in removed), removed)
        return self.ledger.held[0] if self.ledger.held else None

    def confirm(self) -> None:
        """Record that the oldest receipt was sent."""
        self.advance(self.ledger.held[1:], sent=1)

    def reject(self) -> None:
        """Drop the oldest receipt."""
        self.advance(self.ledger.held[1:])


def _size(receipt: Receipt) -> int:
    texts = len(receipt.error) + len(receipt.reason)
    return ENVELOPE_BYTES + len(json_text(receipt.result)) + texts
