"""Receipts: what an instance, or the server in its place, reports about a command."""

from typing import Annotated, Literal

import msgspec

from pulseboard.wire.codec import MAX_EVENT_BYTES, Json, Timestamp, check_size, decode
from pulseboard.wire.field_types import CommandId, CommandName, InstanceName, ServiceName
from pulseboard.wire.names import check_instance_name, check_service_name

Step = Literal["received", "accepted", "refused", "done", "failed", "expired"]


FINAL = frozenset({"refused", "done", "failed", "expired"})


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command at one instance. `timestamp` is ms by Redis' clock, and there once it is in the feed.

    `reason` goes with refused, with expired, and with failed where the board says it; `error` with failed; `result` is JSON.
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


def parse_receipt(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> Receipt:
    """Read one receipt; raise InvalidEvent with the reason when it is none."""
    check_size(data, max(max_bytes, MAX_EVENT_BYTES))
    receipt = decode(_receipts, data)
    check_service_name(receipt.service)
    check_instance_name(receipt.instance)
    return receipt
