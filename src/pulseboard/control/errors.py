"""The errors of this package: why a command is not sent, or is not known.

CommandError                `code` is stable: API answers and refusals in the audit carry it
├── ArgumentsTooLarge       too-large
├── BadArguments            bad-arguments
├── BoardBlind              not-ready             the only one that ends by itself
├── IdempotencyKeyReused    idempotency-key-reused
├── NoListener              no-listener
├── TooManyOpenCommands     too-many-open         ends when open commands are completed
├── UnknownCommand          unknown-command
├── UnknownCommandId        unknown-command-id
├── UnknownInstance         unknown-instance
└── UnknownService          unknown-service
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pulseboard.wire.errors import PulseboardError
from pulseboard.wire.state import State


class CommandError(PulseboardError):
    """A command cannot be sent."""

    code: ClassVar[str]


class ArgumentsTooLarge(CommandError):
    """The arguments of a command are too large."""

    code = "too-large"


class BadArguments(CommandError):
    """The command does not accept these arguments."""

    code = "bad-arguments"


class BoardBlind(CommandError):
    """The board cannot see Redis, so it does not know which instances are listening."""

    code = "not-ready"


class IdempotencyKeyReused(CommandError):
    """An idempotency key was used before, with a different request.

    `command_id`: the command that the earlier request sent.
    """

    code = "idempotency-key-reused"

    def __init__(self, command_id: str) -> None:
        super().__init__(
            "This Idempotency-Key was used before with a different request: "
            "use a new key for each command."
        )
        self.command_id = command_id


class NoListener(CommandError):
    """No instance is listening for commands.

    `states`: the state of each instance that the request was for.
    """

    code = "no-listener"

    def __init__(self, message: str, states: Mapping[str, State]) -> None:
        super().__init__(message)
        self.states = states


class TooManyOpenCommands(CommandError):
    """Too many commands have no result yet."""

    code = "too-many-open"


class UnknownCommand(CommandError):
    """No listening instance of the service has this command. `available`: those that exist."""

    code = "unknown-command"

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__(message)
        self.available = available


class UnknownCommandId(CommandError):
    """No command with this id is known; records are kept for seven days."""

    code = "unknown-command-id"


class UnknownInstance(CommandError):
    """The service has no such instance on the board."""

    code = "unknown-instance"


class UnknownService(CommandError):
    """The board knows no such service."""

    code = "unknown-service"
