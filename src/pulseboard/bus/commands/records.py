"""What Redis stores about commands: their records, their listeners, and idempotency keys."""

from typing import Any, NamedTuple

import msgspec

from pulseboard.bus.feed.entries import Row
from pulseboard.wire.cursor import MAX_PART, Cursor
from pulseboard.wire.events.command import Command, parse_command_event
from pulseboard.wire.events.receipt import Receipt, Step, parse_receipt_event

_LAST_PLACE = Cursor(MAX_PART, MAX_PART)
"""The place of a command whose record has none.

No listener counts as started after it.
"""


class CommandSpec(msgspec.Struct, frozen=True):
    """What a command does, and the JSON Schema of its arguments."""

    description: str = ""
    args: dict[str, Any] = {}


class Listener(msgspec.Struct, frozen=True):
    """The commands that one run of an instance accepts."""

    run: str
    commands: dict[str, CommandSpec]
    since: str = "0-0"
    """The run receives the commands that follow this entry of the command stream."""

    def started_after(self, place: Cursor) -> bool:
        """Return whether it started after the command at `place`, which it never receives then."""
        try:
            return Cursor.parse(self.since) >= place
        except ValueError:
            return False


class IdempotencyRecord(NamedTuple):
    """The command that was sent with an idempotency key, and the digest of the request for it."""

    command_id: str
    digest: str


class CommandRecord(NamedTuple):
    """A command, and everything that is known of its execution."""

    command: Command
    cursor: Cursor
    """Its feed id."""
    place: Cursor
    """Its entry in the command stream."""
    claims: dict[str, str]
    """The run that claimed it, by instance."""
    finished: frozenset[str]
    """The instances with a final receipt."""
    receipts: list[Receipt]
    """The receipts of all instances, in order."""


class CommandProgress(NamedTuple):
    """A command that was in progress at some moment, and the last step of each instance then.

    The step of an instance is None if it had sent no receipt.
    """

    command: Command
    steps: dict[str, Step | None]


def parse_idempotency_record(text: bytes) -> IdempotencyRecord:
    """Parse `<command id> <digest>`. Other text results in a digest that matches no request."""
    command_id, _, digest = text.decode("utf-8", "replace").partition(" ")
    return IdempotencyRecord(command_id, digest)


def parse_audit_row(row: Row) -> Command | Receipt:
    """Parse one entry of the audit stream; raise InvalidEvent."""
    _, fields = row
    data = fields.get(b"data", b"")
    return (
        parse_receipt_event(data)
        if fields.get(b"kind") == b"receipt"
        else parse_command_event(data)
    )


def parse_command_record(fields: dict[bytes, bytes]) -> CommandRecord:
    """Parse the hash of a command; raise InvalidEvent, KeyError or ValueError."""
    claims: dict[str, str] = {}
    finished: set[str] = set()
    receipts: list[tuple[Cursor, Receipt]] = []
    for field, value in fields.items():
        kind, _, rest = field.decode().partition(":")
        if kind == "claim":
            claims[rest] = value.decode()
        elif kind == "last":
            finished.add(rest)
        elif kind == "receipt":
            id, _, json = value.partition(b" ")
            receipts.append((Cursor.parse(id), parse_receipt_event(json)))
    receipts.sort(key=lambda placed: placed[0])
    return CommandRecord(
        parse_command_event(fields[b"data"]),
        Cursor.parse(fields[b"cursor"]),
        Cursor.parse(fields[b"place"]) if b"place" in fields else _LAST_PLACE,
        claims,
        frozenset(finished),
        [receipt for _, receipt in receipts],
    )
