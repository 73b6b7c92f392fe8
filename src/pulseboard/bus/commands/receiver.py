"""The service's side of commands: reading them, and claiming each one. Synchronous."""

from typing import Any, Literal, NamedTuple

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_client
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.keys import LISTENER_TTL_MS, Keys
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.events.command import Command
from pulseboard.wire.events.receipt import FINAL, Receipt

BLOCK_MS = 1_000
TIMEOUT_S = 4.0
"""A blocking read without an answer after this time hangs on a dead connection."""
COUNT = 100

ClaimResult = Literal["claimed", "expired", "unavailable"]
_CLAIM_RESULTS: dict[bytes, ClaimResult] = {b"ok": "claimed", b"late": "expired"}


class SignedCommand(NamedTuple):
    """One command as Redis holds it: its service, its bytes, and their signature (b"": none)."""

    service: bytes
    data: bytes
    signature: bytes


class CommandReceiver:
    """One connection that receives commands for one run of an instance.

    Raises BusUnavailable when Redis is unreachable; then call `start` again. Invariant: no command
    is returned twice, since the position only moves forward, and moves before the commands are
    returned.
    """

    def __init__(
        self, address: RedisAddress, keys: Keys, service: str, instance: str, run: str
    ) -> None:
        self._client = open_client(address, keys, timeout_s=TIMEOUT_S)
        self._keys = keys
        self._service = service
        self._instance = instance
        self._run = run
        self._claim = self._client.register_script(read_script("claim_command"))
        self._cursor: Cursor | None = None
        self._start: Cursor | None = None

    def start(self) -> None:
        """Find the position to read from: at first the present end of the command stream.

        Earlier commands were sent to earlier runs.
        """
        with bus_errors():
            latest: Any = self._client.xrevrange(self._keys.commands, count=1)
        last = Cursor.parse(latest[0][0]) if latest else ZERO
        # A failover may lose commands that were read. The next command can then have a lower id
        # than these, although it is newer.
        self._cursor = last if self._cursor is None else min(self._cursor, last)
        self._start = last if self._start is None else min(self._start, last)

    @property
    def start_position(self) -> str:
        """The entry of the command stream after which this run receives commands."""
        return str(self._start)

    def renew_listener(self, listener: bytes) -> None:
        """Store that this run receives commands, and which ones (JSON).

        Call it every LISTENER_RENEWAL_S seconds; the key expires after LISTENER_TTL_MS.
        """
        with bus_errors():
            self._client.set(
                self._keys.listener(self._service, self._instance), listener, px=LISTENER_TTL_MS
            )

    def read(self, block_ms: int = BLOCK_MS) -> list[SignedCommand]:
        """Return the new commands of all services; wait for up to `block_ms` if there are none."""
        with bus_errors():
            answer: Any = self._client.xread(
                {self._keys.commands: str(self._cursor)}, count=COUNT, block=block_ms
            )
        rows = answer[0][1] if answer else []
        if rows:
            self._cursor = Cursor.parse(rows[-1][0])
        return [
            SignedCommand(*(fields.get(name, b"") for name in (b"service", b"data", b"signature")))
            for _, fields in rows
        ]

    def claim(self, command: Command) -> ClaimResult:
        """Claim a command for this run, and publish the receipt "received".

        Returns "expired" after the command's deadline, and "unavailable" when it is finished, when
        another run of this instance has claimed it, or when Redis has no record of it.
        """
        received = Receipt(
            self._service, self._instance, command.command_id, command.command, "received"
        )
        keys = receipt_keys(self._keys, command.command_id)
        args: list[Any] = [
            DEFAULT_LIMITS,
            command.command_id,
            self._instance,
            self._run,
            command.expires,
        ]
        with bus_errors():
            answer: bytes = self._claim(keys=keys, args=[*args, encode(received)])
        return _CLAIM_RESULTS.get(answer, "unavailable")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def receipt_args(receipt: Receipt, only_if: str = "") -> list[Any]:
    """Return the arguments of receipt.lua.

    `only_if` is "claimed" or "unclaimed" when a server publishes the receipt for the instance.
    """
    final = int(receipt.receipt in FINAL)
    args = [DEFAULT_LIMITS, receipt.command_id, receipt.instance, receipt.receipt]
    return [*args, encode(receipt), final, only_if]


def receipt_keys(keys: Keys, command_id: str) -> list[str]:
    """Return the keys of claim_command.lua and receipt.lua."""
    return [
        keys.feed,
        keys.clock,
        keys.limits,
        keys.command(command_id),
        keys.open_commands,
        keys.audit,
    ]
