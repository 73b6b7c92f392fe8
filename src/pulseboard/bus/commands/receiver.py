"""Orders: the commands as a service reads them, from where it began to listen, and its claim on each. Synchronous."""

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
"""A blocked read that has not come back by then hangs on a dead link."""
COUNT = 100

ClaimResult = Literal["claimed", "expired", "unavailable"]
_CLAIM_RESULTS: dict[bytes, ClaimResult] = {b"ok": "claimed", b"late": "expired"}


class SignedCommand(NamedTuple):
    """One command as it stands in Redis: for which service, its bytes, and their signature (b"": none)."""

    service: bytes
    data: bytes
    signature: bytes


class CommandReceiver:
    """One connection that listens for commands to one run of an instance.

    Raises BusUnavailable when Redis is away; then `begin` anew. Invariant: no order is handed out twice, since the
    position only goes forward, and is moved on before what was read is handed out.
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
        self._since: Cursor | None = None

    def start(self) -> None:
        """Find from where to read on: at first from now on, since what was said before was said to others."""
        with bus_errors():
            latest: Any = self._client.xrevrange(self._keys.commands, count=1)
        last = Cursor.parse(latest[0][0]) if latest else ZERO
        # A failover may have lost what was read; what comes after it has a lower id then, and is no older for that.
        self._cursor = last if self._cursor is None else min(self._cursor, last)
        self._since = last if self._since is None else min(self._since, last)

    @property
    def start_position(self) -> str:
        """After which entry of the commands' stream this run listens; all up to it is for others, or for nobody."""
        return str(self._since)

    def renew_listener(self, listener: bytes) -> None:
        """Say that this run listens, and for what (JSON); for as long as it is said every LISTENER_RENEWAL_S."""
        with bus_errors():
            self._client.set(
                self._keys.listener(self._service, self._instance), listener, px=LISTENER_TTL_MS
            )

    def read(self, block_ms: int = BLOCK_MS) -> list[SignedCommand]:
        """Return what has come, of all services; wait for up to `block_ms` when there is nothing."""
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
        """Claim a command for this run, and tell that it was received: "late" when its time is over, "taken" when it is
        settled or another run of this instance has it."""
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
    """Return the arguments of receipt.lua; with `only_if`, "claimed" or "unclaimed", a server says it for the instance."""
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
