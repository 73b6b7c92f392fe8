"""Locators: which nodes they ask for the master, and which answers they accept."""

from collections.abc import Mapping
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from pulseboard.bus.connection.address import Endpoint, RedisAddress
from pulseboard.bus.connection.discovery import NODES_MAX, Locator, make_locator
from pulseboard.bus.keys import Keys

KEYS = Keys("pulseboard")
SLOT = key_slot(b"pulseboard")
A, B, C, D = (Endpoint(name, 7000) for name in "abcd")
REFUSED = redis.ConnectionError("connection refused")


def locator(url: str, keys: Keys | None = KEYS) -> Locator:
    locator = make_locator(RedisAddress.parse(url), keys)
    assert locator is not None
    return locator


def search(locator: Locator, answers: Mapping[Endpoint, Any]) -> tuple[Endpoint, list[Endpoint]]:
    """Run a search with the given answers; return the result and the asked nodes, in order."""
    asked: list[Endpoint] = []
    poll = locator.search()
    try:
        asked.append(next(poll))
        while True:
            asked.append(poll.send(answers.get(asked[-1], REFUSED)))
    except StopIteration as found:
        return found.value, asked


def master(node: Endpoint) -> list[bytes]:
    """Return a sentinel's answer that names a master."""
    return [node.host.encode(), str(node.port).encode()]


def slots(owner: Endpoint, *others: Endpoint, host: Any = None) -> list[Any]:
    """Return a node's answer to CLUSTER SLOTS.

    `owner`, with the replicas `others`, owns the slot of our keys; another node owns the rest.
    """
    nodes = [[node.host.encode(), node.port, b"id", []] for node in (owner, *others)]
    if host is not None:
        nodes[0][0] = host[0]
    return [[0, SLOT - 1, [b"elsewhere", 7009, b"id"]], [SLOT, SLOT, *nodes]]


SENTINELS = "redis+sentinel://a:7000,b:7000,c:7000/pulse"
CLUSTER = "redis+cluster://a:7000,b:7000,c:7000"


@pytest.mark.parametrize("url", ["redis://cache", "rediss://cache", "unix:///run/redis.sock"])
def test_standalone_redis_needs_no_locator(url: str) -> None:
    assert make_locator(RedisAddress.parse(url), KEYS) is None


def test_sentinels_are_asked_for_the_master_by_name() -> None:
    assert locator(SENTINELS).question == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "pulse")


def test_two_agreeing_sentinels_of_three_are_enough() -> None:
    assert search(locator(SENTINELS), {A: master(D), B: master(D), C: REFUSED}) == (D, [A, B])


def test_isolated_sentinel_is_outvoted() -> None:
    assert search(locator(SENTINELS), {A: master(A), B: master(D), C: master(D)}) == (D, [A, B, C])


def test_only_reachable_sentinel_decides_and_is_asked_first_next_time() -> None:
    sentinels = locator(SENTINELS)
    assert search(sentinels, {C: master(D)}) == (D, [A, B, C])
    assert search(sentinels, {A: master(D), B: master(D), C: master(D)}) == (D, [C, A])


def test_abandoned_search_still_remembers_unreachable_nodes() -> None:
    sentinels = locator(SENTINELS)
    poll = sentinels.search()
    next(poll)
    poll.send(REFUSED)
    poll.close()
    assert search(sentinels, {B: master(D), C: master(D)})[1] == [B, C]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "it watches no master named 'pulse'"),
        (REFUSED, "connection refused"),
        (redis.AuthenticationError("Authentication required."), "Authentication required"),
        ([b"one"], "no sentinel says"),
        (7, "no sentinel says"),
    ],
)
def test_search_without_a_usable_answer_raises_connection_error_with_the_reason(
    answer: Any, reason: str
) -> None:
    with pytest.raises(
        redis.ConnectionError, match="no sentinel says where the master 'pulse' is"
    ) as failure:
        search(locator(SENTINELS), dict.fromkeys((A, B, C), answer))
    assert reason in str(failure.value)


def test_search_finds_the_owner_of_the_slot_of_our_keys() -> None:
    assert search(locator(CLUSTER), dict.fromkeys((A, B, C), slots(D, A)))[0] == D
    elsewhere = search(locator(CLUSTER, None), dict.fromkeys((A, B, C), slots(D, A)))[0]
    assert elsewhere == Endpoint("elsewhere", 7009), "without keys it is the owner of slot 0"


def test_discovered_nodes_are_asked_when_the_configured_ones_are_gone() -> None:
    cluster = locator("redis+cluster://a:7000")
    assert search(cluster, {A: slots(A, B, C)})[0] == A
    assert search(cluster, {B: slots(B, C), C: slots(B, C)})[0] == B


def test_known_owner_is_asked_last_for_the_owner_of_the_slot() -> None:
    """An isolated master still names itself as the owner.

    If it were asked first, its answer would be accepted for ever.
    """
    cluster = locator(CLUSTER)
    assert search(cluster, dict.fromkeys((A, B, C), slots(A, D)))[0] == A
    found, asked = search(cluster, {A: slots(A, D)} | dict.fromkeys((B, C, D), slots(D)))
    assert (found, asked[-1]) == (D, D)
    assert A not in asked


def test_search_asks_a_bounded_number_of_nodes_in_a_large_cluster() -> None:
    many = [Endpoint(f"n{number}", 7000) for number in range(300)]
    cluster = locator(CLUSTER)
    answers = dict.fromkeys((A, B, C, *many), slots(D, *many))
    for _ in range(3):
        assert len(search(cluster, answers)[1]) <= 3
    assert len(search(cluster, {D: slots(D)})[1]) == NODES_MAX
    assert search(cluster, {C: slots(D)})[0] == D, "the configured nodes stay known"


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_node_without_its_own_host_name_has_the_host_that_was_asked(
    host: bytes | None,
) -> None:
    cluster = locator("redis+cluster://a:7000")
    assert search(cluster, {A: slots(D, host=[host])})[0] == A


def test_slot_without_an_owner_raises_connection_error() -> None:
    other_slots = [[0, 0, [b"a", 7000, b"id"]]]
    with pytest.raises(redis.ConnectionError, match=f"who owns slot {SLOT}: .*no node owns"):
        search(locator(CLUSTER), dict.fromkeys((A, B, C), other_slots))


def test_master_is_checked_periodically_only_if_answers_do_not_reveal_a_change() -> None:
    assert locator(SENTINELS).check_every_s < 60
    assert locator(CLUSTER, None).check_every_s < 60
    assert locator(CLUSTER).check_every_s == float("inf")
