"""Types of fields, with the constraints that the JSON Schemas in `spec/` state.

msgspec does not check these constraints when it decodes: `wire.names` and the parsers of each kind
do, and report a reason for the refusal.
"""

from typing import Annotated, Any

import msgspec

from pulseboard.wire.codec import MAX_TIMESTAMP_MS, Timestamp
from pulseboard.wire.names import MAX_INSTANCE_CHARS, NAME_PATTERN, RESERVED

# `$` also matches before a final line break in some dialects; this matches at the very end only.
_END = r"(?![\s\S])"
_ANCHORED_NAME = f"^{NAME_PATTERN}{_END}"
_DAY_S = 86_400


def _schema(description: str = "", **constraints: Any) -> msgspec.Meta:
    return msgspec.Meta(description=description or None, extra_json_schema=constraints or None)


ServiceName = Annotated[str, _schema(pattern=_ANCHORED_NAME, **{"not": {"enum": sorted(RESERVED)}})]
CommandName = Annotated[str, _schema(pattern=_ANCHORED_NAME)]
InstanceName = Annotated[
    str,
    _schema(
        "The name of one instance of the service; empty for an unnamed one.",
        maxLength=MAX_INSTANCE_CHARS,
        pattern=rf"^[^/]*{_END}",
    ),
]

FeedId = Annotated[
    str, _schema("A feed id, `<ms>-<seq>`, by Redis' clock.", pattern=r"^[0-9]+-[0-9]+$")
]
LineId = Annotated[
    str,
    _schema(
        "The id of a log line: the feed id of its entry and its number in that entry.",
        pattern=r"^[0-9]+-[0-9]+\.[0-9]+$",
    ),
]
CommandId = Annotated[str, _schema(pattern=r"^[0-9a-f]{32}$")]

RedisTimeMs = Annotated[int, _schema("Milliseconds since the epoch, by Redis' clock.")]
PublisherTimeMs = Annotated[
    int, Timestamp, _schema("Milliseconds since the epoch, by the publisher's clock.")
]
AnyTimeMs = Annotated[
    float,
    _schema(
        "Milliseconds since the epoch, by the publisher's clock; a fraction is dropped.",
        minimum=-MAX_TIMESTAMP_MS,
        maximum=MAX_TIMESTAMP_MS,
    ),
]
HeartbeatS = Annotated[
    float,
    _schema("The declared heartbeat interval in seconds.", exclusiveMinimum=0, maximum=_DAY_S),
]
BackInS = Annotated[
    float,
    _schema(
        "With `stopped`: the instance plans to return within this many seconds.",
        exclusiveMinimum=0,
        maximum=_DAY_S,
    ),
]

JsonObject = Annotated[msgspec.Raw, _schema(type="object")]
"""The JSON text of an object, which is not decoded on the way."""
