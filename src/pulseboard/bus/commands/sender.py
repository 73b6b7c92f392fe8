"""Commands as a server sends them: who listens, what is on its way, and what became of it."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from pulseboard.bus.commands.receiver import receipt_args, receipt_keys
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.feed.entries import Row
from pulseboard.bus.keys import IDEMPOTENCY_TTL_S
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import decode, encode
from pulseboard.wire.cursor import MAX_PART, Cursor
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.command import Command, parse_command_event, sign
from pulseboard.wire.events.receipt import FINAL, Receipt, Step, parse_receipt_event
from pulseboard.wire.names import DEFAULT_PREFIX

OPEN_PAGE_SIZE = 200
"""So many open commands are looked at in one go."""


AUDIT_LOOKED_THROUGH, AUDIT_PAGE = 5_000, 500
IN_WORK_MS = 2 * 86_400_000
"""A command that began so long before a moment is not looked for."""


class CommandSpec(msgspec.Struct, frozen=True):
    """What a command does, and the JSON Schema of its arguments."""

    description: str = ""
    args: dict[str, Any] = {}


class Listener(msgspec.Struct, frozen=True):
    """What one run of an instance listens for."""

    run: str
    commands: dict[str, CommandSpec]
    since: str = "0-0"
    """The entry of the commands' stream after which it began to listen."""

    def started_after(self, place: Cursor) -> bool:
        """Say whether it began to listen when what stands there was sent already, and so never hears it."""
        try:
            return Cursor.parse(self.since) >= place
        except ValueError:
            return False


class IdempotencyRecord(NamedTuple):
    """What an idempotency key stands for: a command, and the digest of what was asked for."""

    command_id: str
    digest: str


class CommandRecord(NamedTuple):
    """A command, its feed id, its place in the commands' stream, who claimed it (instance to run), and its receipts in order."""

    command: Command
    cursor: Cursor
    place: Cursor
    claims: dict[str, str]
    finished: frozenset[str]
    receipts: list[Receipt]


_AFTER_ALL = Cursor(MAX_PART, MAX_PART)
"""Where a record says no place, nobody is known to have begun to listen after it."""
_COMMAND_ID = re.compile(rb"[0-9a-f]{1,64}")
_listeners = msgspec.json.Decoder(Listener)


class CommandSender:
    """Sends commands, and follows them. Raises BusUnavailable when Redis is away."""

    def __init__(
        self,
        bus: BusClient,
        rejections: Rejections,
        *,
        prefix: str = DEFAULT_PREFIX,
        command_key: str | None = None,
    ) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._channel = f"{prefix}commands"
        self._rejections = rejections
        self._command_key = command_key
        self._send = self._client.register_script(read_script("send_command"))
        self._receipt = self._client.register_script(read_script("receipt"))

    async def read_listeners(self, service: str, instances: Sequence[str]) -> dict[str, Listener]:
        """Return those of some instances that listen at this moment, and what for."""
        if not instances:
            return {}
        with bus_errors():
            told: Any = await self._client.mget(
                [self._keys.listener(service, instance) for instance in instances]
            )
        found = zip(instances, told, strict=True)
        listeners = (
            (instance, self._parse_listener(service, json))
            for instance, json in found
            if json is not None
        )
        return {instance: listener for instance, listener in listeners if listener is not None}

    def sign(self, data: bytes) -> str:
        """Return the signature of a command's bytes; nothing where there is no key."""
        return (
            "" if self._command_key is None else sign(self._command_key, self._keys.namespace, data)
        )

    async def send(
        self, command: Command, key: str | None = None, digest: str = ""
    ) -> Cursor | IdempotencyRecord:
        """Send a command; return its feed id. With an idempotency `key` that came before, return what it stands for."""
        data = encode(command)
        keys = [
            self._keys.feed,
            self._keys.clock,
            self._keys.limits,
            self._keys.command(command.command_id),
        ]
        keys += [self._keys.commands, self._keys.open_commands, self._keys.audit]
        keys += [self._idempotency(command.service, key or "")]
        args: list[Any] = [
            DEFAULT_LIMITS,
            self._channel,
            data,
            command.command_id,
            command.service,
            self.sign(data),
        ]
        args += [
            len(command.instances),
            digest if key is not None else "",
            IDEMPOTENCY_TTL_S,
            command.expires,
        ]
        with bus_errors():
            new, answer = await self._send(keys=keys, args=args)
        return Cursor.parse(answer) if new else _parse_known(answer)

    async def find_idempotency_record(self, service: str, key: str) -> IdempotencyRecord | None:
        """Return what an idempotency key stands for, if it came before."""
        with bus_errors():
            found: Any = await self._client.get(self._idempotency(service, key))
        return None if found is None else _parse_known(found)

    async def read(self, command_id: str) -> CommandRecord | None:
        """Return what became of a command; None when it is not known (any more)."""
        try:
            with bus_errors():
                fields: Any = await self._client.hgetall(self._keys.command(command_id))
            return _parse_record(fields) if fields else None
        except (InvalidEvent, ValueError, KeyError, BusUnavailable) as error:
            if isinstance(error, BusUnavailable) and not str(error.__cause__).startswith(
                "WRONGTYPE"
            ):
                raise
            problem = (
                error if isinstance(error, InvalidEvent) else InvalidEvent("malformed", str(error))
            )
            self._rejections.add(problem, "the record of a command")
            return None

    async def count_open_commands(self) -> int:
        """Return of how many commands not all is known yet."""
        with bus_errors():
            return int(await self._client.zcard(self._keys.open_commands))

    async def read_open_commands(self, start: int) -> list[str]:
        """Return the ids of some commands of which not all is known yet, from the `start`-th on, the oldest first."""
        with bus_errors():
            ids: Any = await self._client.zrange(
                self._keys.open_commands, start, start + OPEN_PAGE_SIZE - 1
            )
            if foreign := [id for id in ids if not _COMMAND_ID.fullmatch(id)]:
                await self._client.zrem(self._keys.open_commands, *foreign)
        return [id.decode() for id in ids if id not in foreign]

    async def close_command(self, command_id: str) -> None:
        """Follow a command no further."""
        with bus_errors():
            await self._client.zrem(self._keys.open_commands, command_id)

    async def read_in_progress(
        self, at_ms: int
    ) -> tuple[list[tuple[Command, dict[str, Step | None]]], bool]:
        """Return the commands that were in work at a moment, the latest first, with the last step of each instance; and
        whether all that can bear on it was looked through."""
        steps: dict[tuple[str, str], Step] = {}
        found: list[tuple[Command, dict[str, Step | None]]] = []
        end, oldest = str(at_ms), str(max(0, at_ms - IN_WORK_MS))
        for _ in range(AUDIT_LOOKED_THROUGH // AUDIT_PAGE):
            with bus_errors():
                rows: Any = await self._client.xrevrange(
                    self._keys.audit, end, oldest, count=AUDIT_PAGE
                )
            check_cancelled()
            for event in self._rejections.sift(rows, _parse_deed, lambda _: "the audit stream"):
                if isinstance(event, Receipt):
                    steps.setdefault((event.command_id, event.instance), event.receipt)
                    continue
                last = {name: steps.get((event.command_id, name)) for name in event.instances}
                begun = any(step is not None and step not in FINAL for step in last.values())
                if begun or (None in last.values() and event.expires >= at_ms):
                    found.append((event, last))
            if len(rows) < AUDIT_PAGE:
                return found, True
            end = f"({rows[-1][0].decode()}"
        return found, False

    async def publish_receipt(self, receipt: Receipt, *, claimed: bool) -> None:
        """Say for an instance what became of a command, unless that is not the case any more or was said."""
        args = receipt_args(receipt, "claimed" if claimed else "unclaimed")
        with bus_errors():
            await self._receipt(keys=receipt_keys(self._keys, receipt.command_id), args=args)

    def _idempotency(self, service: str, key: str) -> str:
        return self._keys.idempotency(
            hashlib.blake2b(f"{service}\0{key}".encode(), digest_size=16).hexdigest()
        )

    def _parse_listener(self, service: str, json: bytes) -> Listener | None:
        try:
            return decode(_listeners, json)
        except InvalidEvent as error:
            self._rejections.add(error, f"what an instance of {service} listens for")
            return None


def _parse_known(text: bytes) -> IdempotencyRecord:
    # What is none of ours matches no request: whoever asks with that key is told so.
    command_id, _, digest = text.decode("utf-8", "replace").partition(" ")
    return IdempotencyRecord(command_id, digest)


def _parse_deed(row: Row) -> Command | Receipt:
    _, fields = row
    data = fields.get(b"data", b"")
    return (
        parse_receipt_event(data)
        if fields.get(b"kind") == b"receipt"
        else parse_command_event(data)
    )


def _parse_record(fields: dict[bytes, bytes]) -> CommandRecord:
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
        Cursor.parse(fields[b"place"]) if b"place" in fields else _AFTER_ALL,
        claims,
        frozenset(finished),
        [receipt for _, receipt in receipts],
    )
