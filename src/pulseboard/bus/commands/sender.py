"""The server's side of commands: sending them, and reading listeners and records."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from pulseboard.bus.commands.receiver import receipt_args, receipt_keys
from pulseboard.bus.commands.records import (
    CommandProgress,
    CommandRecord,
    IdempotencyRecord,
    Listener,
    parse_audit_row,
    parse_command_record,
    parse_idempotency_record,
)
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.keys import IDEMPOTENCY_TTL_S
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import decode, encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events.command import Command, sign
from pulseboard.wire.events.receipt import FINAL, Receipt, Step
from pulseboard.wire.names import DEFAULT_PREFIX

OPEN_PAGE_SIZE = 200
"""Open commands that are read at a time."""
AUDIT_SCAN_MAX, AUDIT_PAGE = 5_000, 500
PROGRESS_MAX_AGE_MS = 2 * 86_400_000
"""A command that was sent this long before a moment is not searched for: 2 days."""

_COMMAND_ID = re.compile(rb"[0-9a-f]{1,64}")
_listener_decoder = msgspec.json.Decoder(Listener)


class CommandSender:
    """Sends commands and reads their progress.

    An *open* command is one whose outcome is not yet known for each of its instances. Raises
    BusUnavailable when Redis is unreachable.
    """

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
        """Return the listeners among some instances, by instance."""
        if not instances:
            return {}
        with bus_errors():
            found: Any = await self._client.mget(
                [self._keys.listener(service, instance) for instance in instances]
            )
        listeners = (
            (instance, self._parse_listener(service, json))
            for instance, json in zip(instances, found, strict=True)
            if json is not None
        )
        return {instance: listener for instance, listener in listeners if listener is not None}

    def sign(self, data: bytes) -> str:
        """Return the signature of a command's bytes; "" if there is no command key."""
        if self._command_key is None:
            return ""
        return sign(self._command_key, self._keys.namespace, data)

    async def send(
        self, command: Command, key: str | None = None, digest: str = ""
    ) -> Cursor | IdempotencyRecord:
        """Send a command; return its feed id.

        With an idempotency `key` that was used before, send nothing and return its record. The
        `digest` of the request is stored with the key.
        """
        data = encode(command)
        keys = [
            self._keys.feed,
            self._keys.clock,
            self._keys.limits,
            self._keys.command(command.command_id),
            self._keys.commands,
            self._keys.open_commands,
            self._keys.audit,
            self._idempotency_key(command.service, key or ""),
        ]
        args: list[Any] = [
            DEFAULT_LIMITS,
            self._channel,
            data,
            command.command_id,
            command.service,
            self.sign(data),
            len(command.instances),
            digest if key is not None else "",
            IDEMPOTENCY_TTL_S,
            command.expires,
        ]
        with bus_errors():
            is_new, answer = await self._send(keys=keys, args=args)
        return Cursor.parse(answer) if is_new else parse_idempotency_record(answer)

    async def find_idempotency_record(self, service: str, key: str) -> IdempotencyRecord | None:
        """Return the record of an idempotency key; None if it was not used."""
        with bus_errors():
            found: Any = await self._client.get(self._idempotency_key(service, key))
        return None if found is None else parse_idempotency_record(found)

    async def read(self, command_id: str) -> CommandRecord | None:
        """Return the record of a command; None if there is none, or none any more."""
        try:
            with bus_errors():
                fields: Any = await self._client.hgetall(self._keys.command(command_id))
            return parse_command_record(fields) if fields else None
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
        """Return the number of open commands."""
        with bus_errors():
            return int(await self._client.zcard(self._keys.open_commands))

    async def read_open_commands(self, start: int) -> list[str]:
        """Return the ids of a page of open commands, the oldest first, from index `start` on."""
        with bus_errors():
            ids: Any = await self._client.zrange(
                self._keys.open_commands, start, start + OPEN_PAGE_SIZE - 1
            )
            if foreign := [id for id in ids if not _COMMAND_ID.fullmatch(id)]:
                await self._client.zrem(self._keys.open_commands, *foreign)
        return [id.decode() for id in ids if id not in foreign]

    async def close_command(self, command_id: str) -> None:
        """Remove a command from the open commands."""
        with bus_errors():
            await self._client.zrem(self._keys.open_commands, command_id)

    async def read_in_progress(self, at_ms: int) -> tuple[list[CommandProgress], bool]:
        """Return the commands that were in progress at a moment, the latest first.

        The second value is False if the scan of the audit stream stopped at AUDIT_SCAN_MAX entries.
        """
        steps: dict[tuple[str, str], Step] = {}
        found: list[CommandProgress] = []
        end, oldest = str(at_ms), str(max(0, at_ms - PROGRESS_MAX_AGE_MS))
        for _ in range(AUDIT_SCAN_MAX // AUDIT_PAGE):
            with bus_errors():
                rows: Any = await self._client.xrevrange(
                    self._keys.audit, end, oldest, count=AUDIT_PAGE
                )
            check_cancelled()
            for event in self._rejections.sift(rows, parse_audit_row, lambda _: "the audit stream"):
                if isinstance(event, Receipt):
                    steps.setdefault((event.command_id, event.instance), event.receipt)
                    continue
                last = {name: steps.get((event.command_id, name)) for name in event.instances}
                is_running = any(step is not None and step not in FINAL for step in last.values())
                if is_running or (None in last.values() and event.expires >= at_ms):
                    found.append(CommandProgress(event, last))
            if len(rows) < AUDIT_PAGE:
                return found, True
            end = f"({rows[-1][0].decode()}"
        return found, False

    async def publish_receipt(self, receipt: Receipt, *, claimed: bool) -> None:
        """Publish a receipt on behalf of an instance that cannot do it.

        Redis ignores it if the instance has sent a final receipt, or if the instance's claim on the
        command is no longer as `claimed` says.
        """
        args = receipt_args(receipt, "claimed" if claimed else "unclaimed")
        with bus_errors():
            await self._receipt(keys=receipt_keys(self._keys, receipt.command_id), args=args)

    def _idempotency_key(self, service: str, key: str) -> str:
        return self._keys.idempotency(
            hashlib.blake2b(f"{service}\0{key}".encode(), digest_size=16).hexdigest()
        )

    def _parse_listener(self, service: str, json: bytes) -> Listener | None:
        try:
            return decode(_listener_decoder, json)
        except InvalidEvent as error:
            self._rejections.add(error, f"the listener of an instance of {service}")
            return None
