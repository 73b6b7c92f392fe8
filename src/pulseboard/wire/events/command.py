"""Commands as they travel, and the signature by which a service knows that it may obey one.

A signature covers the very bytes of the command and the namespace it was meant for, so nothing needs to be put in order first.
"""

import hashlib
import hmac
from typing import Annotated, Any, Literal

import msgspec

from pulseboard.wire.codec import (
    MAX_EVENT_BYTES,
    Timestamp,
    check_depth,
    check_raw_object,
    check_size,
    decode,
    is_stamped,
)
from pulseboard.wire.errors import ConfigError, InvalidEvent
from pulseboard.wire.field_types import (
    CommandId,
    CommandName,
    InstanceName,
    JsonObject,
    ServiceName,
)
from pulseboard.wire.names import check_command_name, check_instance_name, check_service_name

MAX_ARGS_BYTES = 16_384
DEADLINE_S, MIN_DEADLINE_S, MAX_DEADLINE_S = 30.0, 0.1, 86_400.0
"""How long a command may take to be begun, where nobody says."""


MIN_KEY_CHARS = 16


DeadlineS = Annotated[float, msgspec.Meta(ge=MIN_DEADLINE_S, le=MAX_DEADLINE_S)]


class Command(msgspec.Struct, frozen=True):
    """A command on its way: to which instances, when it was issued and until when it may be begun (ms by Redis' clock).

    `by` is who gave it ('': nobody logged in), `source` how, `origin` from which address, `refused` why it goes to nobody.
    """

    command_id: CommandId
    service: ServiceName
    command: CommandName
    instances: list[InstanceName]
    args: JsonObject
    issued: Annotated[int, Timestamp]
    expires: Annotated[int, Timestamp]
    by: str = ""
    source: Literal["api", "publish"] = "api"
    origin: str = ""
    refused: str = ""


class ExternalCommand(msgspec.Struct, frozen=True):
    """What anyone may publish on `service:commands` (seed, "Service Control"): to one instance, or to all of the service."""

    command: CommandName
    service: ServiceName
    instance: InstanceName | None = None
    args: dict[str, Any] = {}
    deadline_s: DeadlineS = DEADLINE_S
    id: Annotated[Any, msgspec.Meta(description="With a feed id, it is in the feed already.")] = (
        None
    )


_commands = msgspec.json.Decoder(Command)


_plain = msgspec.json.Decoder(ExternalCommand)


def parse_command(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> Command:
    """Read one command as a server wrote it; raise InvalidEvent with the reason when it is none."""
    check_size(data, max(max_bytes, MAX_EVENT_BYTES))
    command = decode(_commands, data)
    check_service_name(command.service)
    check_command_name(command.command)
    for instance in command.instances:
        check_instance_name(instance)
    check_raw_object(bytes(command.args))
    return command


def parse_external_command(
    payload: bytes, *, max_bytes: int = MAX_EVENT_BYTES
) -> ExternalCommand | None:
    """Check one message on `service:commands`; None when it came from the feed. Raises InvalidEvent with the reason."""
    check_size(payload, max_bytes)
    message = decode(_plain, payload)
    if is_stamped(message.id):
        return None
    check_service_name(message.service)
    check_command_name(message.command)
    if message.instance is not None:
        check_instance_name(message.instance)
    check_depth(message.args)
    return message


def check_args(args: bytes) -> None:
    """Raise InvalidEvent for arguments that are larger than a command's may be."""
    if len(args) > MAX_ARGS_BYTES:
        raise InvalidEvent(
            "too-large",
            f"the arguments of a command are at most {MAX_ARGS_BYTES} bytes, not {len(args)}",
        )


def check_command_key(key: str | None) -> str | None:
    """Return the key that commands are signed with, None for none; raise ConfigError for one that is easily guessed."""
    if key is not None and len(key) < MIN_KEY_CHARS:
        raise ConfigError(
            f"a command key has at least {MIN_KEY_CHARS} characters; this one has {len(key)}"
        )
    return key


def sign(key: str, namespace: str, data: bytes) -> str:
    """Return the signature of a command's bytes (HMAC with SHA-256, RFC 2104), in hex."""
    return hmac.new(key.encode(), namespace.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def is_signed(key: str, namespace: str, data: bytes, signature: str) -> bool:
    """Say whether a signature is that of these bytes, in a time that tells nothing of it."""
    return hmac.compare_digest(sign(key, namespace, data).encode(), signature.encode())
