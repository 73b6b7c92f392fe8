"""The settings of a hub and its board, with their defaults."""

from dataclasses import dataclass

WRITE_DEADLINE_S = 60.0
FORGET_S = 7 * 86_400.0
"""The server removes an instance from the board when its last sign of life is older than this."""


@dataclass(frozen=True)
class HubOptions:
    """What the hub reports about itself, and its intervals in seconds.

    The hub closes a client that has read nothing for `write_deadline_s`. A stream ends after
    `stream_lifetime_s`, randomized by up to a tenth; 0 sets no limit.
    """

    ping_s: float = 5.0
    keepalive_s: float = 20.0
    write_deadline_s: float = WRITE_DEADLINE_S
    version: str = ""
    insecure: bool = False
    stream_lifetime_s: float = 0.0
