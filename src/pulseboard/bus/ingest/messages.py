"""Plain publishes: what a message on one of the channels becomes, once it is checked, for ingest.lua."""

import hashlib
from typing import Literal, NamedTuple

from pulseboard.bus.keys import HistoryKind, Keys, board_field, format_absence
from pulseboard.wire.codec import encode, encode_event
from pulseboard.wire.events.command import Command, ExternalCommand, parse_external_command
from pulseboard.wire.events.log import count_levels, parse_log_message
from pulseboard.wire.events.metric import parse_metric_message
from pulseboard.wire.events.status import parse_event, parse_message


class IngestItem(NamedTuple):
    """One event for ingest.lua: its kind, the two keys and the three arguments that this takes, and the digest it is known by."""

    kind: HistoryKind | Literal["command", "none"]
    history: str
    other: str
    subject: str
    json: bytes
    more: str
    digest: str


class Wanted(NamedTuple):
    """A command that somebody published, of which it is still to be found out to whom it goes."""

    command: ExternalCommand
    digest: str


def parse_external(
    channel: str, payload: bytes, keys: Keys, *, prefix: str, max_bytes: int
) -> IngestItem | Wanted | None:
    """Check one message; None when it carries the id of the feed already. Raises InvalidEvent with the reason."""
    digest = hashlib.blake2b(channel.encode() + b"\0" + payload, digest_size=16).hexdigest()
    if channel == f"{prefix}commands":
        command = parse_external_command(payload, max_bytes=max_bytes)
        return None if command is None else Wanted(command, digest)
    if channel == f"{prefix}logs":
        log = parse_log_message(payload, max_bytes=max_bytes)
        if log is None:
            return None
        history = keys.history(log.service, "log")
        json = encode_event(log, max_bytes=max_bytes + 1_024)
        return IngestItem(
            "log", history, keys.line_counts, log.service, json, count_levels(log.lines), digest
        )
    if channel == f"{prefix}metrics":
        metric = parse_metric_message(payload, max_bytes=max_bytes)
        if metric is None:
            return None
        history, subject = (
            keys.history(metric.service, "metric"),
            board_field(metric.service, metric.instance),
        )
        json = encode_event(metric, max_bytes=max_bytes)
        return IngestItem("metric", history, keys.latest_metrics, subject, json, "", digest)
    checked = parse_message(channel, payload, prefix=prefix, max_bytes=max_bytes)
    if checked is None:
        return None
    event = parse_event(checked, max_bytes=max_bytes)
    subject, absence = board_field(event.service, event.instance), format_absence(event.back_in_s)
    history, planned = keys.history(event.service), keys.planned_returns(event.service)
    return IngestItem("status", history, planned, subject, checked, absence, digest)


def ingest_command(command: Command, digest: str, keys: Keys) -> IngestItem:
    """Return a plain command for ingest.lua, now that it is known to whom it goes."""
    subject = f"{command.command_id} {command.service} {len(command.instances)} {command.expires}"
    record = keys.command(command.command_id)
    return IngestItem("command", record, keys.commands, subject, encode(command), "", digest)
