"""Values of a status: unencodable, too large or changed later by the host application."""

import logging
from typing import Any

import pytest
from tests.support.sdk import MakeService, RedisView, eventually

from pulseboard.wire.codec import MAX_EVENT_BYTES


def test_later_changes_to_a_nested_value_are_not_published(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """Nested values were once kept by reference.

    Each later event, such as an update or a graceful stop, then published their changed content.
    """
    service = make_service()
    queue = {"jobs": [1]}
    service.update(queue=queue)
    queue["jobs"].append(2)
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"queue": {"jobs": [1]}, "n": 1})
    status = {"queue": queue}
    service.replace(status)
    status["more"] = {"jobs": []}
    queue["jobs"].append(3)
    service.stop()
    assert redis_view.latest == {"queue": {"jobs": [1, 2]}}


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class UnreadableDict(dict[str, Any]):
    def keys(self) -> Any:
        raise RuntimeError("no")

    def items(self) -> Any:
        raise RuntimeError("no")


def self_reference() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Unprintable(), id="__str__ raises"),
        pytest.param(self_reference(), id="self reference"),
        pytest.param(10**5_000, id="digits"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param("\ud800", id="surrogate"),
        pytest.param({(1, 2): 3}, id="keys"),
        pytest.param(object(), id="object"),
        pytest.param(UnreadableDict(a="\ud800"), id="items() raises"),
    ],
)
def test_unencodable_value_affects_neither_caller_nor_other_fields(
    make_service: MakeService, redis_view: RedisView, value: object
) -> None:
    service = make_service()
    service.update(good=1, bad=value)
    service.replace({"good": 2, "bad": value})
    eventually(lambda: redis_view.latest.get("good") == 2)
    assert set(redis_view.latest) == {"good", "bad"}


@pytest.mark.parametrize("status", [None, 7, "x", [1], object(), UnreadableDict(a=1)])
def test_invalid_status_is_logged_once_and_not_raised(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture, status: Any
) -> None:
    service = make_service()
    service.update(n=1)
    for _ in range(3):
        service.replace(status)
    service.update(m=2)
    eventually(lambda: redis_view.latest in ({"n": 1, "m": 2}, {"a": 1, "m": 2}))
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) <= 1


def test_too_large_status_is_logged_once_and_the_next_is_published(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service()
    for _ in range(3):
        service.update(log="x" * MAX_EVENT_BYTES)
    service.update(log="short")
    eventually(lambda: redis_view.latest == {"log": "short"})
    assert len([record for record in caplog.records if "65536 bytes" in record.message]) == 1


def test_too_large_field_is_omitted_and_the_others_are_published(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """The whole status was once left out.

    The service stayed alive on the board, with a status that was never updated again.
    """
    service = make_service()
    service.update(done=1)
    service.update(dump="y" * 200_000)
    service.update(done=2)
    eventually(
        lambda: redis_view.latest == {"done": 2, "dump": "(omitted: 200002 bytes is too large)"}
    )


def test_too_long_field_name_is_cut_and_other_fields_are_published(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture
) -> None:
    """A name larger than the limit of an event once caused every later status to be left out."""
    service = make_service()
    for n in range(2):
        service.update(done=n, **{"x" * 70_000: n})
    eventually(lambda: redis_view.latest == {"done": 1, "x" * 256: 1})
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "cut to 256 characters" in caplog.text


def test_status_with_too_many_fields_is_replaced_by_a_message(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.replace({f"field-{n}": n for n in range(20_000)})
    eventually(lambda: list(redis_view.latest) == ["status"])


def test_too_large_status_does_not_prevent_the_graceful_stop(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """Without it, a service that had stopped as planned was declared lost and caused an alert."""
    service = make_service()
    service.update(log="x" * MAX_EVENT_BYTES)
    service.stop()
    assert redis_view.events[-1]["stopped"] is True
