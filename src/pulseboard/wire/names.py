"""Rules for names, and the conversion of a service name to a channel and to a JSON key."""

import re

from pulseboard.wire.errors import InvalidEvent, InvalidName

RESERVED = frozenset({"logs", "metrics", "commands"})
"""Channel suffixes that carry the events of all services, so no service can have such a name.

These are the `channel` of the entries in `wire/kinds.py`, which a test compares: that module
imports the events, and those import this one.
"""
DEFAULT_PREFIX = "service:"
MAX_INSTANCE_CHARS = 128

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
"""The name of a service or a command, without anchors."""

_NAME = re.compile(NAME_PATTERN, re.ASCII)
_NAME_RULE = "use 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
_SEPARATOR = re.compile(r"[._-]+([a-z0-9]?)")


def check_service_name(name: str) -> str:
    """Return `name` if it is a valid service name; else raise InvalidName with the rule."""
    if _NAME.fullmatch(name) is None:
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise InvalidName(f"{shown!r} cannot name a service: {_NAME_RULE}")
    if name in RESERVED:
        raise InvalidName(
            f"{name!r} cannot name a service: the channel of that name carries the {name} of all"
            " services"
        )
    return name


def check_command_name(name: str) -> str:
    """Return `name` if it is a valid command name; else raise InvalidName."""
    if _NAME.fullmatch(name) is None:
        raise InvalidName(f"{name[:80]!r} cannot name a command: {_NAME_RULE}")
    return name


def check_instance_name(name: str) -> str:
    """Return `name` if it is a valid instance name; else raise InvalidName.

    It has at most 128 printable characters and no "/"; it can be empty.
    """
    if len(name) > MAX_INSTANCE_CHARS or "/" in name or not (name == "" or name.isprintable()):
        raise InvalidName(
            f"an instance name can have at most {MAX_INSTANCE_CHARS} printable characters, without"
            " '/'"
        )
    return name


def format_channel(service: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Return the pub/sub channel that carries the status of `service`."""
    return prefix + service


def parse_channel(channel: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Return the service whose status travels on `channel`.

    Raises InvalidEvent for a channel with another prefix, and InvalidName for an invalid service
    name.
    """
    if not channel.startswith(prefix):
        raise InvalidEvent(
            "unknown-channel", f"channel {channel[:80]!r} does not start with {prefix!r}"
        )
    return check_service_name(channel.removeprefix(prefix))


def camel_case(service: str) -> str:
    """Return the key of `service` in the status snapshot: `balance-sync` -> `balanceSync`."""
    return _SEPARATOR.sub(lambda match: match[1].upper(), service)
