"""Receipts: an instance, or a server in its place, reports a step of a command."""

from typing import Annotated, Literal

import msgspec

from pulseboard.wire.codec import MAX_EVENT_BYTES, Json, Timestamp, check_size, decode
from pulseboard.wire.field_types import CommandId, CommandName, InstanceName, ServiceName
from pulseboard.wire.names import check_instance_name, check_service_name

Step = Literal["received", "accepted", "refused", "done", "failed", "expired"]
FINAL = frozenset({"refused", "done", "failed", "expired"})
"""The steps after which an instance reports no other step of the command."""


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a command at one instance.

    A script adds `timestamp` (ms by Redis' clock) when it appends the receipt to the feed. `reason`
    belongs to refused and expired, and to failed when a server reports it; `error` belongs to
    failed; `result` is any JSON.
    """

    service: ServiceName
    instance: InstanceName
    command_id: CommandId
    command: CommandName
    receipt: Step
    reason: str = ""
    error: str = ""
    result: Json = msgspec.UNSET
    duration_ms: int | None = None
    timestamp: Annotated[int, Timestamp] = 0


_receipts = msgspec.json.Decoder(Receipt)


def parse_receipt_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> Receipt:
    """Parse a feed entry of this kind; raise InvalidEvent with the reason when it is invalid."""
    check_size(data, max(max_bytes, MAX_EVENT_BYTES))
    receipt = decode(_receipts, data)
    check_service_name(receipt.service)
    check_instance_name(receipt.instance)
    return receipt
