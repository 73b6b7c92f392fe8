"""Names: what may be called how, and how a service's name becomes a channel or a JSON key."""

import re

from pulseboard.wire.errors import InvalidEvent, InvalidName

RESERVED = frozenset({"logs", "metrics", "commands"})
"""Channels of their own (seed, "Future Enhancements"), so they cannot name services."""

DEFAULT_PREFIX = "service:"
MAX_INSTANCE_CHARS = 128

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_SEPARATOR = re.compile(r"[._-]+([a-z0-9]?)")


def check_service_name(name: str) -> str:
    """Return `name` if it can name a service, else raise InvalidName saying what is allowed."""
    if _NAME.fullmatch(name) is None:
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise InvalidName(
            f"{shown!r} cannot name a service: use 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        )
    if name in RESERVED:
        raise InvalidName(
            f"{name!r} cannot name a service: the channel of that name carries the {name} of all services"
        )
    return name


def check_command_name(name: str) -> str:
    """Return `name` if it can name a command, else raise InvalidName: the same characters as a service's."""
    if _NAME.fullmatch(name) is None:
        raise InvalidName(
            f"{name[:80]!r} cannot name a command: use 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        )
    return name


def check_instance_name(name: str) -> str:
    """Return `name` if it can name an instance (at most 128 printable characters, no "/"), else raise InvalidName."""
    if len(name) > MAX_INSTANCE_CHARS or "/" in name or not (name == "" or name.isprintable()):
        raise InvalidName(
            f"an instance's name is at most {MAX_INSTANCE_CHARS} printable characters without '/'"
        )
    return name


def format_channel(service: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Return the pub/sub channel that carries the status of `service`."""
    return prefix + service


def parse_channel(channel: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Return the service whose status travels on `channel`; raise InvalidName, or InvalidEvent for a foreign channel."""
    if not channel.startswith(prefix):
        raise InvalidEvent(
            "unknown-channel", f"channel {channel[:80]!r} does not start with {prefix!r}"
        )
    return check_service_name(channel.removeprefix(prefix))


def camel_case(service: str) -> str:
    """Return the key of `service` in the seed's snapshot: `balance-sync` -> `balanceSync`."""
    return _SEPARATOR.sub(lambda match: match[1].upper(), service)
