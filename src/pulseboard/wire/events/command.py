"""Commands, and the signature that proves to a service that a server has sent a command.

The signature is computed over the bytes of the command as they are sent, and over the namespace.
The sender and the service therefore need not agree on one way to write the same JSON.
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
    is_feed_id,
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
"""Seconds within which a service must start a command: default, minimum and maximum."""
MIN_KEY_CHARS = 16
"""The minimum length of the key that signs commands."""

DeadlineS = Annotated[float, msgspec.Meta(ge=MIN_DEADLINE_S, le=MAX_DEADLINE_S)]


class Command(msgspec.Struct, frozen=True):
    """A command for some instances of a service; times are in ms by Redis' clock.

    An instance must start the command before `expires`. `by` is the user who sent the
    command, and `origin` the address of the client; either is empty if it is not known.
    `source` is the interface that received the command. `refused` is the reason why no
    instance receives the command; it is empty if the command is not refused.
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
    """A command that a program published on `service:commands`.

    It is for one instance of a service, or without `instance` for all. The format is that of
    "Service Control" in the original specification.
    """

    command: CommandName
    service: ServiceName
    instance: InstanceName | None = None
    args: dict[str, Any] = {}
    deadline_s: DeadlineS = DEADLINE_S
    id: Annotated[
        Any, msgspec.Meta(description="A feed id means that the command is in the feed already.")
    ] = None


_commands = msgspec.json.Decoder(Command)
_external_commands = msgspec.json.Decoder(ExternalCommand)


def parse_command_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> Command:
    """Parse a command that a server wrote.

    Raises InvalidEvent with the reason if the command is invalid.
    """
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
    """Parse a message on `service:commands`; return None if a server published it from the feed.

    Raises InvalidEvent with the reason why the caller must drop the message.
    """
    check_size(payload, max_bytes)
    command = decode(_external_commands, payload)
    if is_feed_id(command.id):
        return None
    check_service_name(command.service)
    check_command_name(command.command)
    if command.instance is not None:
        check_instance_name(command.instance)
    check_depth(command.args)
    return command


def check_args(args: bytes) -> None:
    """Raise InvalidEvent for command arguments that are too large."""
    if len(args) > MAX_ARGS_BYTES:
        raise InvalidEvent(
            "too-large",
            f"the arguments of the command have {len(args)} bytes: send at most"
            f" {MAX_ARGS_BYTES} bytes",
        )


def check_command_key(key: str | None) -> str | None:
    """Return `key`, which signs commands; None means that commands are not signed.

    Raises ConfigError if the key has fewer than 16 characters.
    """
    if key is not None and len(key) < MIN_KEY_CHARS:
        raise ConfigError(
            f"the command key has {len(key)} characters: choose one of at least {MIN_KEY_CHARS}"
        )
    return key


def sign(key: str, namespace: str, data: bytes) -> str:
    """Return the signature of a command's bytes (HMAC with SHA-256, RFC 2104), in hex."""
    return hmac.new(key.encode(), namespace.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def is_signature_valid(key: str, namespace: str, data: bytes, signature: str) -> bool:
    """Return whether a signature belongs to these bytes.

    The comparison takes the same time for every wrong signature, so that an attacker cannot find
    the right one by measuring.
    """
    return hmac.compare_digest(sign(key, namespace, data).encode(), signature.encode())
