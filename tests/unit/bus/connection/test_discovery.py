"""Whom a locator asks, and whom it believes."""

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
NOBODY = redis.ConnectionError("connection refused")


def locator(url: str, keys: Keys | None = KEYS) -> Locator:
    made = make_locator(RedisAddress.parse(url), keys)
    assert made is not None
    return made


def search(locator: Locator, answers: Mapping[Endpoint, Any]) -> tuple[Endpoint, list[Endpoint]]:
    """Answer for the nodes, and return what was found and who was asked, in order."""
    asked: list[Endpoint] = []
    poll = locator.search()
    try:
        asked.append(next(poll))
        while True:
            asked.append(poll.send(answers.get(asked[-1], NOBODY)))
    except StopIteration as found:
        return found.value, asked


def master(node: Endpoint) -> list[bytes]:
    """How a sentinel names a master."""
    return [node.host.encode(), str(node.port).encode()]


def slots(owner: Endpoint, *others: Endpoint, host: Any = None) -> list[Any]:
    """How a node of a cluster tells who owns our slot: `owner`, with replicas; another owns the rest."""
    places = [[node.host.encode(), node.port, b"id", []] for node in (owner, *others)]
    if host is not None:
        places[0][0] = host[0]
    return [[0, SLOT - 1, [b"elsewhere", 7009, b"id"]], [SLOT, SLOT, *places]]


SENTINELS = "redis+sentinel://a:7000,b:7000,c:7000/pulse"
CLUSTER = "redis+cluster://a:7000,b:7000,c:7000"


@pytest.mark.parametrize("url", ["redis://cache", "rediss://cache", "unix:///run/redis.sock"])
def test_a_redis_that_stands_alone_need_not_be_located(url: str) -> None:
    assert make_locator(RedisAddress.parse(url), KEYS) is None


def test_sentinels_are_asked_by_the_name_of_the_master() -> None:
    assert locator(SENTINELS).question == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "pulse")


def test_two_of_three_sentinels_that_agree_are_enough() -> None:
    assert search(locator(SENTINELS), {A: master(D), B: master(D), C: NOBODY}) == (D, [A, B])


def test_a_sentinel_that_was_cut_off_is_outvoted() -> None:
    assert search(locator(SENTINELS), {A: master(A), B: master(D), C: master(D)}) == (D, [A, B, C])


def test_the_word_of_one_counts_when_the_others_are_gone_and_they_are_asked_last_next_time() -> (
    None
):
    sentinels = locator(SENTINELS)
    assert search(sentinels, {C: master(D)}) == (D, [A, B, C])
    assert search(sentinels, {A: master(D), B: master(D), C: master(D)}) == (D, [C, A])


def test_a_search_that_is_given_up_has_still_learnt_who_was_silent() -> None:
    sentinels = locator(SENTINELS)
    poll = sentinels.search()
    next(poll)
    poll.send(NOBODY)
    poll.close()
    assert search(sentinels, {B: master(D), C: master(D)})[1] == [B, C]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "it watches no master named 'pulse'"),
        (NOBODY, "connection refused"),
        (redis.AuthenticationError("Authentication required."), "Authentication required"),
        ([b"one"], "no sentinel says"),
        (7, "no sentinel says"),
    ],
)
def test_nobody_to_tell_is_no_connection_and_says_why(answer: Any, told: str) -> None:
    with pytest.raises(
        redis.ConnectionError, match="no sentinel says where the master 'pulse' is"
    ) as failure:
        search(locator(SENTINELS), dict.fromkeys((A, B, C), answer))
    assert told in str(failure.value)


def test_the_owner_of_the_slot_of_our_keys_is_found() -> None:
    assert search(locator(CLUSTER), dict.fromkeys((A, B, C), slots(D, A)))[0] == D
    elsewhere = search(locator(CLUSTER, None), dict.fromkeys((A, B, C), slots(D, A)))[0]
    assert elsewhere == Endpoint("elsewhere", 7009), "without keys it is the owner of slot 0"


def test_nodes_that_were_not_named_are_asked_when_the_named_ones_are_gone() -> None:
    cluster = locator("redis+cluster://a:7000")
    assert search(cluster, {A: slots(A, B, C)})[0] == A
    assert search(cluster, {B: slots(B, C), C: slots(B, C)})[0] == B


def test_the_owner_itself_is_asked_last_who_owns_the_slot() -> None:
    """A master that was cut off goes on to call itself the owner, and would be believed for ever."""
    cluster = locator(CLUSTER)
    assert search(cluster, dict.fromkeys((A, B, C), slots(A, D)))[0] == A
    found, asked = search(cluster, {A: slots(A, D)} | dict.fromkeys((B, C, D), slots(D)))
    assert (found, asked[-1]) == (D, D)
    assert A not in asked


def test_a_cluster_of_hundreds_is_not_asked_through() -> None:
    many = [Endpoint(f"n{number}", 7000) for number in range(300)]
    cluster = locator(CLUSTER)
    answers = dict.fromkeys((A, B, C, *many), slots(D, *many))
    for _ in range(3):
        assert len(search(cluster, answers)[1]) <= 3
    assert len(search(cluster, {D: slots(D)})[1]) == NODES_MAX
    assert search(cluster, {C: slots(D)})[0] == D, "those that were named are never forgotten"


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_node_that_does_not_know_its_own_name_is_the_one_that_was_asked(
    host: bytes | None,
) -> None:
    cluster = locator("redis+cluster://a:7000")
    assert search(cluster, {A: slots(D, host=[host])})[0] == A


def test_a_slot_that_nobody_owns_is_no_connection() -> None:
    nothing_of_ours = [[0, 0, [b"a", 7000, b"id"]]]
    with pytest.raises(redis.ConnectionError, match=f"who owns slot {SLOT}: .*no node owns"):
        search(locator(CLUSTER), dict.fromkeys((A, B, C), nothing_of_ours))


def test_only_who_is_not_told_by_the_answers_asks_again_now_and_then() -> None:
    assert locator(SENTINELS).check_every_s < 60
    assert locator(CLUSTER, None).check_every_s < 60
    assert locator(CLUSTER).check_every_s == float("inf")
