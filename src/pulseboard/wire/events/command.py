"""Commands, and the signature by which a service knows that it may obey one.

A signature covers the exact bytes of the command and its namespace, so the JSON needs no canonical
form.
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
"""Seconds until which a command must be started: the default, and the bounds."""
MIN_KEY_CHARS = 16

DeadlineS = Annotated[float, msgspec.Meta(ge=MIN_DEADLINE_S, le=MAX_DEADLINE_S)]


class Command(msgspec.Struct, frozen=True):
    """A command for some instances of a service; times are in ms by Redis' clock.

    It must be started before `expires`. `by` is the user that sent it (empty: no login), `source`
    the way it came,
    `origin` the client's address. `refused` is the reason why it goes to no instance (empty: it is
    not refused).
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
    """A command from any program on `service:commands`, for one instance or all of a service.

    Original specification, "Service Control".
    """

    command: CommandName
    service: ServiceName
    instance: InstanceName | None = None
    args: dict[str, Any] = {}
    deadline_s: DeadlineS = DEADLINE_S
    id: Annotated[Any, msgspec.Meta(description="With a feed id, it is in the feed already.")] = (
        None
    )


_commands = msgspec.json.Decoder(Command)
_external_commands = msgspec.json.Decoder(ExternalCommand)


def parse_command_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> Command:
    """Parse a command that a server wrote.

    Raise InvalidEvent with the reason when it is invalid.
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
    """Parse an external message on `service:commands`; return None when it came from the feed.

    Raises InvalidEvent with the reason for which the message must be dropped.
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
            f"the arguments of a command can have at most {MAX_ARGS_BYTES} bytes; these have"
            f" {len(args)}",
        )


def check_command_key(key: str | None) -> str | None:
    """Return the key that signs commands, None for none.

    Raise ConfigError for a key that is too short.
    """
    if key is not None and len(key) < MIN_KEY_CHARS:
        raise ConfigError(
            f"a command key needs at least {MIN_KEY_CHARS} characters; this one has {len(key)}"
        )
    return key


def sign(key: str, namespace: str, data: bytes) -> str:
    """Return the signature of a command's bytes (HMAC with SHA-256, RFC 2104), in hex."""
    return hmac.new(key.encode(), namespace.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def is_signature_valid(key: str, namespace: str, data: bytes, signature: str) -> bool:
    """Return whether a signature belongs to these bytes, in constant time."""
    return hmac.compare_digest(sign(key, namespace, data).encode(), signature.encode())
