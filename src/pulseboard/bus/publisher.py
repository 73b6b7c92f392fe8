"""Publish the events and heartbeats of a service, a batch in one round trip.

It is synchronous, for the thread of the SDK.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pulseboard.bus.commands.receiver import receipt_args, receipt_keys
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_client
from pulseboard.bus.connection.errors import bus_errors, was_refused
from pulseboard.bus.keys import BATCH_TTL_MS, HEARTBEATS_MAX, Keys, board_field, format_back_in
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.kinds import LOG, METRIC
from pulseboard.wire.names import DEFAULT_PREFIX, format_channel


class Outgoing(NamedTuple):
    """A status event to publish.

    `back_in_s` is the planned absence of a graceful stop in seconds.
    """

    service: str
    instance: str
    json: bytes
    back_in_s: float | None = None


class Lines(Protocol):
    """A batch of log lines to publish; each line is the JSON of an object.

    `number` identifies the batch. `levels` is the number of lines of each level (`info=3 error=1`),
    and `dropped` the number of lines that were dropped before these.
    """

    @property
    def number(self) -> str: ...
    @property
    def lines(self) -> Sequence[bytes]: ...
    @property
    def levels(self) -> str: ...
    @property
    def dropped(self) -> int: ...


class Publisher:
    """A connection for publishing.

    Its methods raise BusUnavailable when Redis cannot be reached; the next call connects again.
    """

    def __init__(
        self,
        address: RedisAddress,
        keys: Keys,
        *,
        prefix: str = DEFAULT_PREFIX,
        timeout_s: float = 2.0,
    ) -> None:
        self._client = open_client(address, keys, timeout_s=timeout_s)
        self._keys = keys
        self._prefix = prefix
        self._publish = self._client.register_script(read_script("publish"))
        self._heartbeat = self._client.register_script(read_script("heartbeat"))
        self._lines = self._client.register_script(read_script("log"))
        self._receipt = self._client.register_script(read_script("receipt"))
        self._metric = self._client.register_script(read_script("metric"))
        self._confirmed: dict[str, Cursor] = {}
        """The last event of each instance that Redis confirmed."""

    def publish(self, events: Sequence[Outgoing]) -> list[Cursor]:
        """Append events to feed, history and board and PUBLISH them, in one atomic step.

        Return their cursors.
        """
        keys = [*self._keys.shared]
        args: list[str | bytes | int] = [DEFAULT_LIMITS]
        for event in events:
            keys += [self._keys.history(event.service), self._keys.planned_returns(event.service)]
            args += [
                format_channel(event.service, self._prefix),
                board_field(event.service, event.instance),
                event.json,
                format_back_in(event.back_in_s),
            ]
        with bus_errors():
            cursors = [Cursor.parse(id) for id in self._publish(keys=keys, args=args)]
        for event, cursor in zip(events, cursors, strict=True):
            self._confirmed[board_field(event.service, event.instance)] = cursor
        return cursors

    def publish_lines(self, service: str, instance: str, batch: Lines) -> Cursor | None:
        """Append log lines of one instance to feed and history and PUBLISH each, in one step.

        Returns their cursor; None when Redis has this batch already, because an earlier answer was
        lost.
        """
        keys = [
            self._keys.feed,
            self._keys.clock,
            self._keys.limits,
            self._keys.history(service, "log"),
        ]
        keys += [self._keys.line_counts, self._keys.line_batch(service, instance)]
        shared = encode({"service": service, "instance": instance})
        args: list[str | bytes | int] = [
            DEFAULT_LIMITS,
            f"{self._prefix}{LOG.channel}",
            service,
            shared,
            batch.dropped,
        ]
        args += [batch.levels, batch.number, BATCH_TTL_MS, *batch.lines]
        with bus_errors():
            id = self._lines(keys=keys, args=args)
        return Cursor.parse(id) if id else None

    def forget_listener(self, service: str, instance: str) -> None:
        """Delete the commands that an earlier run of this instance accepted.

        Their record may outlive it.
        """
        try:
            with bus_errors():
                # This deletes the key, with a command that the rights of a service include.
                self._client.expire(self._keys.listener(service, instance), 0)
        except BusUnavailable as error:
            # A service without these rights cannot listen for commands, but the board must still
            # show it.
            if not was_refused(error):
                raise

    def publish_receipt(self, receipt: Receipt) -> None:
        """Publish a step of a command; a repeated step has no effect."""
        with bus_errors():
            self._receipt(
                keys=receipt_keys(self._keys, receipt.command_id), args=receipt_args(receipt)
            )

    def publish_metrics(self, service: str, instance: str, json: bytes) -> Cursor:
        """Append the metrics of an instance to feed and history and PUBLISH them.

        `json` is the event; returns its cursor.
        """
        keys = [
            self._keys.feed,
            self._keys.clock,
            self._keys.limits,
            self._keys.history(service, "metric"),
        ]
        args: list[str | bytes] = [
            DEFAULT_LIMITS,
            f"{self._prefix}{METRIC.channel}",
            board_field(service, instance),
            json,
        ]
        with bus_errors():
            return Cursor.parse(self._metric(keys=[*keys, self._keys.latest_metrics], args=args))

    def heartbeat(self, service: str, instance: str, lag_ms: int = 0) -> bool:
        """Send a heartbeat; return False when the board lacks the instance or its last event.

        Its status must then be sent again: Redis lost its data, a failover lost writes that were
        not replicated, or the instance was declared lost and is back. `lag_ms` is how long the
        event loop of the host application has not answered; 0 when it answers or there is none.
        """
        keys = [
            self._keys.heartbeats,
            self._keys.clock,
            self._keys.board,
            self._keys.seen,
            self._keys.lost,
        ]
        confirmed = self._confirmed.get(board_field(service, instance), "")
        with bus_errors():
            return bool(
                self._heartbeat(
                    keys=keys, args=[HEARTBEATS_MAX, service, instance, lag_ms, str(confirmed)]
                )
            )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
