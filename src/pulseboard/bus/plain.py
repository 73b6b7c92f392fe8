"""Plain publishes: what a message on one of the channels becomes, once it is checked, for adopt.lua."""

import hashlib
from typing import NamedTuple

from pulseboard.bus.keys import HistoryKind, Keys, board_field, format_absence
from pulseboard.wire.events import encode_event, parse_event, parse_message
from pulseboard.wire.logs import count_levels, parse_log_message
from pulseboard.wire.metrics import parse_metric_message


class Adoptable(NamedTuple):
    """One event for adopt.lua: its kind, the two keys and the three arguments that this takes, and the digest it is known by."""

    kind: HistoryKind
    history: str
    other: str
    subject: str
    json: bytes
    more: str
    digest: str


def parse_plain(channel: str, payload: bytes, keys: Keys, *, prefix: str, max_bytes: int) -> Adoptable | None:
    """Check one message; None when it carries the id of the feed already. Raises InvalidEvent with the reason."""
    digest = hashlib.blake2b(channel.encode() + b"\0" + payload, digest_size=16).hexdigest()
    if channel == f"{prefix}logs":
        log = parse_log_message(payload, max_bytes=max_bytes)
        if log is None:
            return None
        history = keys.history(log.service, "log")
        json = encode_event(log, max_bytes=max_bytes + 1_024)
        return Adoptable("log", history, keys.lines, log.service, json, count_levels(log.lines), digest)
    if channel == f"{prefix}metrics":
        metric = parse_metric_message(payload, max_bytes=max_bytes)
        if metric is None:
            return None
        history, subject = keys.history(metric.service, "metric"), board_field(metric.service, metric.instance)
        json = encode_event(metric, max_bytes=max_bytes)
        return Adoptable("metric", history, keys.latest, subject, json, "", digest)
    checked = parse_message(channel, payload, prefix=prefix, max_bytes=max_bytes)
    if checked is None:
        return None
    event = parse_event(checked, max_bytes=max_bytes)
    subject, absence = board_field(event.service, event.instance), format_absence(event.back_in_s)
    history, planned = keys.history(event.service), keys.planned(event.service)
    return Adoptable("status", history, planned, subject, checked, absence, digest)
