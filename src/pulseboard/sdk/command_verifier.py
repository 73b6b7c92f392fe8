"""Checks the signatures of commands, in a service that has a command key."""

import time
from collections import deque

from pulseboard.bus.commands.receiver import SignedCommand
from pulseboard.wire.events.command import Command, is_signature_valid

REMEMBERED = 10_000
"""The number of latest command ids that a verifier remembers.

A service refuses or ignores a command that a program adds to Redis again.
"""
MAX_AGE_S = 300.0
"""The maximum difference between a signed command's `issued` and the clock of this machine.

The verifier does not use the clock of Redis, because a program that can write to Redis could
change it.
"""


class CommandVerifier:
    """Decides for one run of a service whether a command is authentic, and remembers its ids.

    Without a key every command is authentic.
    """

    def __init__(self, key: str | None, namespace: str) -> None:
        self._key = key
        self._namespace = namespace
        self._began_s = time.time()
        self._known: deque[str] = deque(maxlen=REMEMBERED)

    def is_known(self, command: Command) -> bool:
        """Return whether a command of this id was received before."""
        return command.command_id in self._known

    def remember(self, command: Command) -> None:
        """Remember the id of a command."""
        self._known.append(command.command_id)

    def find_objection(self, command: Command, signed: SignedCommand) -> str | None:
        """Return why a command must be refused, as `code: reason`; None if it is authentic."""
        if self._key is None:
            return None
        if not signed.signature:
            return "unsigned: this service accepts signed commands only"
        signature = signed.signature.decode("ascii", "replace")
        if not is_signature_valid(self._key, self._namespace, signed.data, signature):
            return "bad-signature: the command was signed with another key, or changed afterwards"
        if self.is_known(command):
            return "replayed: a command with this id was received before"
        age_s = time.time() - command.issued / 1000
        if abs(age_s) > MAX_AGE_S:
            return (
                f"not-fresh: the command was issued {age_s:.0f} s ago by the clock of this machine,"
                f" and the limit is {MAX_AGE_S:.0f} s"
            )
        if command.issued / 1000 < self._began_s:
            return "not-fresh: the command was issued before this run of the service began"
        return None
