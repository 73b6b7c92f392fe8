"""Checks an external message from one of the channels, and prepares it for ingest.lua."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from pulseboard.bus.keys import Keys, board_field, format_back_in
from pulseboard.wire.codec import encode, encode_event
from pulseboard.wire.events.command import Command, ExternalCommand
from pulseboard.wire.events.log import MAX_SHARED_BYTES, LogEvent, count_levels
from pulseboard.wire.events.metric import MetricEvent
from pulseboard.wire.events.status import parse_external_status, parse_status_event
from pulseboard.wire.kinds import (
    COMMAND,
    KINDS_BY_CHANNEL,
    LOG,
    METRIC,
    STATUS,
    Event,
    EventKind,
    HistoryKind,
)

COUNT_ONLY = "none"
"""The kind of an item that ingest.lua counts like any other but does not append."""


class IngestItem(NamedTuple):
    """One event for ingest.lua.

    `history` and `other_key` are the Redis keys that its kind uses; `subject`, `json` and `extra`
    are the arguments of the script, which `ingest.lua` lists by kind. `digest` identifies the bytes
    of the message and its channel.
    """

    kind: str
    history: str
    other_key: str
    subject: str
    json: bytes
    extra: str
    digest: str


class UnroutedCommand(NamedTuple):
    """An external command for which the server has not selected the target instances yet."""

    command: ExternalCommand
    digest: str


def parse_external(
    channel: str, payload: bytes, keys: Keys, *, prefix: str, max_bytes: int
) -> IngestItem | UnroutedCommand | None:
    """Check one message; return None if a script published it, so that it is in the feed.

    Raises InvalidEvent, with the reason, if the server must drop the message.
    """
    digest = hashlib.blake2b(channel.encode() + b"\0" + payload, digest_size=16).hexdigest()
    suffix = channel.removeprefix(prefix) if channel.startswith(prefix) else ""
    kind = KINDS_BY_CHANNEL.get(suffix)
    if kind is None or kind.parse_external is None:
        json = parse_external_status(channel, payload, prefix=prefix, max_bytes=max_bytes)
        return None if json is None else _prepare_status(json, digest, keys, max_bytes)
    event = kind.parse_external(payload, max_bytes=max_bytes)
    if event is None:
        return None
    if isinstance(event, ExternalCommand):
        return UnroutedCommand(event, digest)
    if (prepare := _PREPARE.get(kind.name)) is not None:
        return prepare(event, digest, keys, max_bytes)
    return _prepare_event(kind, event, digest, keys, max_bytes)


def prepare_command(command: Command, digest: str, keys: Keys) -> IngestItem:
    """Prepare an external command for which the server has selected the target instances."""
    subject = f"{command.command_id} {command.service} {len(command.instances)} {command.expires}"
    record = keys.command(command.command_id)
    return IngestItem(COMMAND.name, record, keys.commands, subject, encode(command), "", digest)


def _prepare_status(json: bytes, digest: str, keys: Keys, max_bytes: int) -> IngestItem:
    event = parse_status_event(json, max_bytes=max_bytes)
    return IngestItem(
        STATUS.name,
        keys.history(event.service, "status"),
        keys.planned_returns(event.service),
        board_field(event.service, event.instance),
        json,
        format_back_in(event.back_in_s),
        digest,
    )


def _prepare_log(event: LogEvent, digest: str, keys: Keys, max_bytes: int) -> IngestItem:
    return IngestItem(
        LOG.name,
        keys.history(event.service, "log"),
        keys.line_counts,
        event.service,
        encode_event(event, max_bytes=max_bytes + MAX_SHARED_BYTES),
        count_levels(event.lines),
        digest,
    )


def _prepare_metric(event: MetricEvent, digest: str, keys: Keys, max_bytes: int) -> IngestItem:
    return IngestItem(
        METRIC.name,
        keys.history(event.service, "metric"),
        keys.latest_metrics,
        board_field(event.service, event.instance),
        encode_event(event, max_bytes=max_bytes),
        "",
        digest,
    )


def _prepare_event(
    kind: EventKind[Any], event: Event, digest: str, keys: Keys, max_bytes: int
) -> IngestItem:
    # The key of the feed replaces a key that the kind does not use, because all keys of a script
    # must be in one slot of a Redis cluster.
    history = keys.feed
    if kind.history is not None:
        history = keys.history(event.service, cast("HistoryKind", kind.name))
    json = encode_event(event, max_bytes=max_bytes)
    return IngestItem(kind.name, history, keys.feed, event.service, json, "", digest)


_PREPARE: dict[str, Callable[..., IngestItem]] = {
    LOG.name: _prepare_log,
    METRIC.name: _prepare_metric,
}
"""The functions for the kinds that `append_<kind>.lua` stores in further keys."""
