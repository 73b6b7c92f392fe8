"""What a hub and its board are told when they are made, and by default."""

from dataclasses import dataclass

WRITE_DEADLINE_S = 60.0
FORGET_S = 7 * 86_400.0
"""An instance without a sign of life for so long is taken off the board."""


@dataclass(frozen=True)
class HubOptions:
    """What readers are told and how often. A reader that takes nothing for `write_deadline_s` is frozen or gone, and let go."""

    ping_s: float = 5.0
    keepalive_s: float = 20.0
    write_deadline_s: float = WRITE_DEADLINE_S
    version: str = ""
    insecure: bool = False
    stream_lifetime_s: float = 0.0
    """Give or take a tenth; 0: streams do not end by themselves."""
