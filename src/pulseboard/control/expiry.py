"""Expiry: the final receipts of commands whose time is over or whose instance is gone.

The instance itself sends every other receipt. These say why it cannot: it did not begin, or did not
survive.
"""

from pulseboard.bus.commands.records import CommandRecord, Listener
from pulseboard.bus.commands.sender import OPEN_PAGE_SIZE, CommandSender
from pulseboard.hub.hub import Hub
from pulseboard.wire.events.receipt import Receipt, Step
from pulseboard.wire.state import State

NOT_LISTENING_MS = 20_000
"""Time after which a command that has not begun expires if its instance is not listening."""
CLAIM_GRACE_MS = 1_000
"""A claim made just before a command's expiry may reach this server this much later."""


class ExpiryCheck:
    """Completes the open commands that their instances will not complete, one page per call.

    Any number of servers may run it: each receipt is written once, and an instance that comes back
    may still add its own.
    """

    def __init__(self, hub: Hub, commands: CommandSender) -> None:
        self._hub = hub
        self._commands = commands
        self._start = 0

    async def check_page(self) -> None:
        """Check the next page of open commands; raise BusUnavailable.

        While the board is blind, do nothing.
        """
        if self._hub.blind is not None:
            return
        ids = await self._commands.read_open_commands(self._start)
        # Commands that stay open must not keep those on later pages from being checked.
        self._start = self._start + len(ids) if len(ids) == OPEN_PAGE_SIZE else 0
        for command_id in ids:
            record = await self._commands.read(command_id)
            if record is None:
                await self._commands.close_command(command_id)
            else:
                await self._check(record)

    async def _check(self, record: CommandRecord) -> None:
        service = record.command.service
        open_instances = [name for name in record.command.instances if name not in record.finished]
        states, now_ms = self._hub.states(service), self._hub.now_ms
        listeners = await self._commands.read_listeners(service, open_instances)
        for name in open_instances:
            receipt = _find_final_receipt(
                record, name, states.get(name), listeners.get(name), now_ms
            )
            if receipt is not None:
                await self._commands.publish_receipt(receipt, claimed=name in record.claims)


def _find_final_receipt(
    record: CommandRecord,
    instance: str,
    state: State | None,
    listener: Listener | None,
    now_ms: int,
) -> Receipt | None:
    """Return the receipt that completes a command for an instance.

    None while the instance may still send it itself.
    """
    command = record.command
    claim = record.claims.get(instance)

    def make_receipt(step: Step, reason: str, error: str) -> Receipt:
        return Receipt(
            command.service, instance, command.command_id, command.command, step, reason, error
        )

    if claim is None:
        error = _why_not_started(record, listener, now_ms)
        return None if error is None else make_receipt("expired", "not-started", error)
    if state is State.STOPPED:
        return make_receipt("failed", "stopped", "the instance stopped; the result is unknown")
    if state is None or state is State.LOST:
        return make_receipt("failed", "lost", "the instance was lost; the result is unknown")
    if listener is not None and listener.run != claim:
        return make_receipt("failed", "restarted", "the instance restarted; the result is unknown")
    return None


def _why_not_started(record: CommandRecord, listener: Listener | None, now_ms: int) -> str | None:
    """Return why an instance will not begin a command; None while it still may."""
    if now_ms > record.command.expires + CLAIM_GRACE_MS:
        return "the instance did not begin in time"
    # A deadline may be as long as a day, too long to wait for an instance that is gone.
    if listener is None and now_ms > record.command.issued + NOT_LISTENING_MS:
        return "the instance is no longer listening"
    if listener is not None and listener.started_after(record.place):
        return "the instance restarted after the command was sent"
    return None
