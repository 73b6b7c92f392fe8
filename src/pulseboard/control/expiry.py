"""Settling: what became of commands that nobody says anything of any more, since their time is over or their instance is gone."""

from pulseboard.bus.commands.sender import OPEN_PAGE_SIZE, CommandRecord, CommandSender, Listener
from pulseboard.hub.hub import Hub
from pulseboard.wire.events.receipt import Receipt, Step
from pulseboard.wire.state import State

DEAF_MS = 20_000
"""So long after it was sent an instance that neither began a command nor says that it listens is not waited for."""
GRACE_MS = 1_000
"""So long after its time a command's claim may still be on its way to us."""

_UNKNOWN = "what became of it there is not known"


class ExpiryCheck:
    """Looks at the open commands, some at each turn, and says for the instances that cannot what became of them.

    Any number of servers may do it: each thing is said once, and an instance that comes back has the last word.
    """

    def __init__(self, hub: Hub, commands: CommandSender) -> None:
        self._hub = hub
        self._commands = commands
        self._start = 0

    async def settle_some(self) -> None:
        """Take one turn; raise BusUnavailable."""
        ids = await self._commands.read_open_commands(self._start)
        # Those that nothing can be said of yet must not keep the others from their turn.
        self._start = self._start + len(ids) if len(ids) == OPEN_PAGE_SIZE else 0
        for command_id in ids:
            record = await self._commands.read(command_id)
            if record is None:
                await self._commands.close_command(command_id)
            else:
                await self._settle(record)

    async def _settle(self, record: CommandRecord) -> None:
        service = record.command.service
        waiting = [
            instance for instance in record.command.instances if instance not in record.finished
        ]
        states, now_ms = self._hub.states(service), self._hub.now_ms
        listeners = await self._commands.read_listeners(service, waiting)
        for instance in waiting:
            listener = listeners.get(instance)
            if (
                receipt := _judge(record, instance, states.get(instance), listener, now_ms)
            ) is not None:
                await self._commands.publish_receipt(receipt, claimed=instance in record.claims)


def _judge(
    record: CommandRecord,
    instance: str,
    state: State | None,
    listener: Listener | None,
    now_ms: int,
) -> Receipt | None:
    command = record.command
    claim = record.claims.get(instance)

    def tell(step: Step, reason: str, error: str) -> Receipt:
        return Receipt(
            command.service, instance, command.command_id, command.command, step, reason, error
        )

    if claim is None:
        if now_ms > command.expires + GRACE_MS:
            return tell("expired", "not-started", "it was not begun in time")
        # Who listened when it was sent and does so no more would otherwise be waited for, for as long as a day.
        if listener is None and now_ms > command.issued + DEAF_MS:
            return tell("expired", "not-started", "the instance listens no more")
        if listener is not None and listener.started_after(record.place):
            return tell(
                "expired", "not-started", "the instance was started anew, and listens only since"
            )
        return None
    if state is State.STOPPED:
        return tell("failed", "stopped", f"the instance stopped; {_UNKNOWN}")
    if state is None or state is State.LOST:
        return tell("failed", "lost", f"the instance was lost; {_UNKNOWN}")
    if listener is not None and listener.run != claim:
        return tell("failed", "restarted", f"the instance was started anew; {_UNKNOWN}")
    return None
