"""Encodes a queued status as the event that is published."""

from collections.abc import Callable

import msgspec

from pulseboard.bus.publisher import Outgoing
from pulseboard.sdk.options import Identity
from pulseboard.sdk.outbox import QueuedStatus
from pulseboard.sdk.status_encoding import fit_status, parse_status
from pulseboard.wire.codec import MAX_EVENT_BYTES, encode, encode_event
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.status import StatusEvent

ENVELOPE_MAX_BYTES = 2_048
"""Bytes beside the status: names of 64 and 128 characters, escaped, and a few numbers."""


class StatusEventEncoder:
    """Encodes the statuses of one run; one that is too large loses its largest fields."""

    def __init__(
        self, identity: Identity, heartbeat_s: float, warn: Callable[[str, str], None]
    ) -> None:
        self._identity = identity
        self._heartbeat_s = heartbeat_s
        self._warn = warn

    def encode(self, status: QueuedStatus, commands: list[str]) -> Outgoing:
        """Return the event of a status; the last one of a run names no commands."""
        service, instance = self._identity.service, self._identity.instance
        marker = status.marker
        event = StatusEvent(
            service=service,
            timestamp=status.at_ns // 1_000_000,
            status=msgspec.Raw(status.json),
            instance=instance,
            heartbeat_s=self._heartbeat_s,
            commands=[] if marker.stopped else commands,
            stopped=marker.stopped,
            back_in_s=marker.back_in_s,
        )
        try:
            json = encode_event(event, max_bytes=MAX_EVENT_BYTES)
        except InvalidEvent as error:
            self._warn(error.reason, f"the largest fields of this status were omitted: {error}")
            room = MAX_EVENT_BYTES - ENVELOPE_MAX_BYTES - len(encode(event.commands))
            fitted = fit_status(parse_status(status.json), room)
            json = encode(msgspec.structs.replace(event, status=msgspec.Raw(encode(fitted))))
        return Outgoing(service, instance, json, marker.back_in_s)
