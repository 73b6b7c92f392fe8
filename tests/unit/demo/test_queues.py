"""The order of the queues, and their behaviour when they are full."""

from __future__ import annotations

import pytest

from pulseboard.demo.queues import SyncQueues


def drain(queues: SyncQueues) -> list[int]:
    users = []
    while (user := queues.pop()) is not None:
        users.append(user)
        queues.finish(user)
    return users


def test_high_priority_goes_first_and_each_queue_keeps_its_order() -> None:
    queues = SyncQueues()
    for user in (1, 2, 3):
        queues.put(user)
    for user in (9, 8):
        queues.put_high(user)
    assert drain(queues) == [9, 8, 1, 2, 3]


def test_user_is_queued_only_once() -> None:
    queues = SyncQueues()
    for _ in range(3):
        queues.put(1)
        queues.put_high(2)
        queues.put(2)
    assert (queues.high, queues.normal) == (1, 1)
    assert drain(queues) == [2, 1]
    assert queues.dropped == 0


def test_user_who_gets_high_priority_leaves_the_normal_queue() -> None:
    queues = SyncQueues()
    queues.put(1)
    queues.put(2)
    queues.put_high(2)
    assert (queues.high, queues.normal) == (1, 1)
    assert drain(queues) == [2, 1]


def test_full_queue_rejects_and_counts_users_and_keeps_the_waiting_ones() -> None:
    queues = SyncQueues(high_capacity=1, normal_capacity=2)
    assert [queues.put(user) for user in (1, 2, 3)] == [True, True, False]
    assert [queues.put_high(user) for user in (7, 8, 1)] == [True, False, False]
    assert queues.dropped == 3
    assert drain(queues) == [7, 1, 2]


def test_active_user_is_dequeued_again_only_when_finished() -> None:
    queues = SyncQueues()
    queues.put(1)
    assert queues.pop() == 1
    queues.put(1)
    assert queues.normal == 0
    queues.put_high(1)
    assert (queues.high, queues.pop(), queues.active) == (1, None, 1)
    queues.finish(1)
    assert queues.pop() == 1


def test_queue_without_capacity_is_rejected() -> None:
    with pytest.raises(ValueError, match="capacity"):
        SyncQueues(high_capacity=0)
