"""Settling: what became of commands that nobody says anything of any more, since their time is over or their instance is gone."""

from collections.abc import Mapping

from pulseboard.bus.commands import Commands, Record
from pulseboard.hub.hub import Hub
from pulseboard.wire.commands import Receipt, Step
from pulseboard.wire.state import State

GRACE_MS = 1_000
"""So long after its time a command's claim may still be on its way to us."""

_UNKNOWN = "what became of it there is not known"


async def settle(hub: Hub, commands: Commands, now_ms: int) -> None:
    """Look at every open command, and say for the instances that cannot what became of it; raise BusUnavailable.

    Any number of servers may do it: each thing is said once, and an instance that comes back has the last word.
    """
    for command_id in await commands.read_open():
        record = await commands.read(command_id)
        if record is None:
            await commands.forget(command_id)
            continue
        states = hub.states(record.command.service)
        waiting = [instance for instance in record.command.instances if instance not in record.settled]
        listeners = await commands.find_listeners(record.command.service, [*(set(waiting) & record.claims.keys())])
        for instance in waiting:
            run = listeners[instance].run if instance in listeners else None
            if (receipt := _judge(record, instance, states, run, now_ms)) is not None:
                await commands.settle(receipt, claimed=instance in record.claims)


def _judge(record: Record, instance: str, states: Mapping[str, State], run: str | None, now_ms: int) -> Receipt | None:
    command = record.command
    claim = record.claims.get(instance)

    def tell(step: Step, reason: str, error: str) -> Receipt:
        return Receipt(command.service, instance, command.command_id, command.command, step, reason, error)

    if claim is None:
        if now_ms <= command.expires + GRACE_MS:
            return None
        return tell("expired", "nobody-began", "it was not begun in time")
    state = states.get(instance)
    if state is State.STOPPED:
        return tell("failed", "stopped", f"the instance stopped; {_UNKNOWN}")
    if state is None or state is State.LOST:
        return tell("failed", "lost", f"the instance was lost; {_UNKNOWN}")
    if run is not None and run != claim:
        return tell("failed", "restarted", f"the instance was started anew; {_UNKNOWN}")
    return None
