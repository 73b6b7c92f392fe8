"""Rejections: the counts, and the warnings that they are logged with."""

import pytest

from pulseboard.bus.rejections import QUIET_S, Rejections
from pulseboard.wire.errors import InvalidEvent


def test_rejection_is_logged_once_a_minute_and_reason_with_the_number_omitted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    rejections = Rejections(clock=lambda: now)
    for _ in range(100):
        rejections.add(InvalidEvent("malformed", "x"), "service:a")
    rejections.add(InvalidEvent("too-large", "x"), "service:a")
    assert len(caplog.records) == 2
    now = QUIET_S
    rejections.add(InvalidEvent("malformed", "a\nb\x1b[31m" * 1_000), "service:\r\n")
    assert len(caplog.records) == 3
    assert "99 more" in caplog.records[2].message
    assert caplog.records[2].message.isprintable()
    assert len(caplog.records[2].message) < 500
    assert rejections.counts == {"malformed": 101, "too-large": 1}
