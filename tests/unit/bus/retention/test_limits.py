"""How much is kept, as people write it."""

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
def test_what_is_named_is_taken_and_the_rest_stays(text: str, limit: Limit) -> None:
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
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Limit.parse(text, DEFAULT)


def test_by_default_fifty_services_fit_into_256_mb_whatever_they_say() -> None:
    """As far as the bounds go; that Redis keeps to them is measured by benchmarks/history_memory.py."""
    limits = Limits()
    each = limits.status.size_bytes + limits.log.size_bytes + limits.metric.size_bytes
    assert (
        50 * each + limits.feed.size_bytes + limits.audit.size_bytes + limits.incident.size_bytes
        <= 256 * MB
    )
