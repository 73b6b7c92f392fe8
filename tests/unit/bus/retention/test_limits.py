"""Retention limits as text, and the memory that the default limits allow."""

import pytest

from pulseboard.bus.retention.limits import DAY_S, MB, Limit, Limits
from pulseboard.wire.errors import ConfigError

DEFAULT = Limit(1_000, 2 * MB, 7 * DAY_S)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("20000,32MB,1h", Limit(20_000, 32 * MB, 3_600)),
        ("1h 32mb 20000", Limit(20_000, 32 * MB, 3_600)),
        ("30d", Limit(1_000, 2 * MB, 30 * DAY_S)),
        ("0.5MB", Limit(1_000, MB // 2, 7 * DAY_S)),
        ("500, 90m", Limit(500, 2 * MB, 5_400)),
    ],
)
def test_named_limits_are_set_and_the_others_keep_their_default(text: str, limit: Limit) -> None:
    assert Limit.parse(text, DEFAULT) == limit
    assert Limit.parse(str(limit), DEFAULT) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "much",
        "-5",
        "5 MB",
        "1e9",
        "99",
        "0.01MB",
        "59s",
        "4000d",
        "99999999999",
        "5d,6d",
        "500,600",
        "٣٠٠",
        "1.5d",
    ],
)
def test_invalid_limits_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Limit.parse(text, DEFAULT)


def test_default_limits_of_fifty_services_add_up_to_at_most_256_mb() -> None:
    """This adds up the limits; benchmarks/history_memory.py measures that Redis keeps to them."""
    limits = Limits()
    per_service = limits.status.size_bytes + limits.log.size_bytes + limits.metric.size_bytes
    assert (
        50 * per_service
        + limits.feed.size_bytes
        + limits.audit.size_bytes
        + limits.incident.size_bytes
        <= 256 * MB
    )
