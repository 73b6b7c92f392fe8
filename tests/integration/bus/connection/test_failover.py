"""Links end when they learn that their node is the wrong one, by its answers or by those who know better."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from tests.support.bus import (
    RecordingReader,
    eventually,
    ingesting,
    numbers_of,
    open_reader,
    outgoing,
    running,
)
from tests.support.topology import Cluster, Sentinel, Standalone, Tls, wait_for
from tests.support.topology.node import Node
from tests.support.valkey import free_port, start_or_skip

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_async_client, open_client
from pulseboard.bus.connection.discovery import Locator
from pulseboard.bus.connection.errors import describe_error, is_refusal
from pulseboard.bus.connection.probe import answers
from pulseboard.bus.connection.redis_client import RedisClient
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.wire.errors import BusUnavailable

SECRET = "hunter2"


@pytest.fixture
def standalone() -> Iterator[Standalone]:
    with start_or_skip(Standalone()) as topology:
        yield topology


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    with start_or_skip(Sentinel(password=SECRET, sentinel_password=SECRET)) as topology:
        yield topology


@pytest.fixture
def cluster(namespace: str) -> Iterator[Cluster]:
    with start_or_skip(Cluster(namespace)) as topology:
        yield topology


def fail(client: redis.Redis, *command: Any) -> redis.RedisError:
    """Send a command that is refused, and return the error."""
    with pytest.raises(redis.RedisError) as failure:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    return failure.value


def test_an_answer_that_means_another_node_or_another_time_ends_the_link(
    standalone: Standalone,
) -> None:
    (node,) = standalone.nodes
    address = RedisAddress.parse(standalone.url)
    admin = node.client
    write = ("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "k")
    with open_client(address, None) as client:

        def check(word: str, *command: Any) -> None:
            before = client.client_id()
            error = fail(client, *command)
            assert isinstance(error, redis.ConnectionError)
            assert not is_refusal(error)
            assert word in describe_error(error)
            assert client.client_id() != before, "the next command has a link of its own"

        admin.config_set("min-replicas-to-write", 1)
        check("NOREPLICAS", *write)
        admin.config_set("min-replicas-to-write", 0)
        admin.replicaof("127.0.0.1", str(free_port()))
        check("ReadOnlyError", *write)
        check("ReadOnlyError", "SET", "k", 1)
        admin.config_set("replica-serve-stale-data", "no")
        error = fail(client, "GET", "k")
        assert isinstance(error, redis.ConnectionError)
        assert "MasterDownError" in describe_error(error)


async def test_a_read_that_waits_on_a_master_which_becomes_a_replica_ends_its_link(
    standalone: Standalone,
) -> None:
    address = RedisAddress.parse(standalone.url)
    client = open_async_client(address, None, timeout_s=None)
    reading: Any = client.blpop(["k"], timeout=0)
    waiting = asyncio.ensure_future(reading)
    admin: Any = standalone.nodes[0].client
    await eventually(lambda: admin.info("clients")["blocked_clients"])
    admin.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(redis.ConnectionError, match="UNBLOCKED"):
        await waiting
    await client.aclose()


def test_a_no_that_stays_a_no_keeps_its_link(standalone: Standalone) -> None:
    with open_client(RedisAddress.parse(standalone.url), None) as client:
        before = client.client_id()
        client.set("k", "no list")
        assert is_refusal(fail(client, "RPUSH", "k", 1))
        assert client.client_id() == before


@pytest.mark.parametrize(
    ("text", "lasting"),
    [
        ("WRONGTYPE Operation against a key", True),
        ("MISCONF Redis is configured to save RDB snapshots, but it is unable to persist", False),
        ("BUSY Redis is busy running a script", False),
        ("NOREPLICAS Not enough good replicas to write.", False),
        ("Error running script (call to f_1): @user_script:1: -READONLY You can't write", False),
    ],
)
def test_whether_trying_again_is_in_vain(text: str, lasting: bool) -> None:
    assert is_refusal(redis.ResponseError(text)) is lasting


def isolate(node: Node) -> None:
    """Let a server refuse to become a replica: whoever is connected to it goes on as if nothing had happened."""
    node.client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "default", "-replicaof", "-slaveof"
    )


async def test_a_master_that_does_not_know_that_it_was_replaced_is_left_by_all(
    sentinel: Sentinel, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what it is given, and loses it; and who listens to it hears nobody, without any error."""
    monkeypatch.setattr(Locator, "check_every_s", 0.2)
    address = RedisAddress.parse(sentinel.url)
    publisher = Publisher(address, keys, prefix=prefix)
    old = sentinel.master
    try:
        async with (
            ingesting(address, keys, prefix) as (ingestor,),
            open_reader(address, keys) as reader,
        ):
            publisher.publish([outgoing(n=1)])
            await eventually(lambda: reader.numbers == [1])
            isolate(old)
            old.freeze()
            new = await asyncio.to_thread(sentinel.wait_failover, old)
            old.thaw()

            def reach_the_new_one() -> bool:
                with contextlib.suppress(BusUnavailable):
                    publisher.publish([outgoing(n=2)])
                return bool(new.client.xlen(keys.feed) >= 2)

            await eventually(reach_the_new_one)
            # As part of a reset: of what the old one took nobody knows how much was passed on.
            await eventually(lambda: 2 in numbers_of(reader.resets[-1].board))
            assert "failed over" in reader.resets[-1].reason
            await eventually(lambda: ingestor.subscribed.is_set() and new.client.pubsub_numpat())
            assert old.client.role()[0] == b"master"
            assert not old.client.pubsub_numpat()
    finally:
        publisher.close()


def test_a_replica_that_a_sentinel_takes_for_the_master_is_none(
    sentinel: Sentinel, keys: Keys
) -> None:
    master = sentinel.master
    (replica,) = (node for node in sentinel.nodes if node is not master)
    for node in sentinel.sentinels:
        node.kill()  # nobody sets it right
    master.client.replicaof("127.0.0.1", str(replica.port))
    sentinel.sentinels[0].start()
    publisher = Publisher(RedisAddress.parse(sentinel.url), keys)
    with pytest.raises(BusUnavailable, match="is not a master at this moment"):
        publisher.publish([outgoing()])
    publisher.close()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ((SECRET, SECRET), ""),
        ((SECRET, "correct-horse"), "no sentinel says where the master 'pulse' is"),
        (("/pulse", "/nobody"), "it watches no master named 'nobody'"),
    ],
)
async def test_links_show_no_password_and_neither_do_their_failures(
    sentinel: Sentinel,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    changed: tuple[str, str],
    reason: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    address = RedisAddress.parse(sentinel.url.replace(*changed))
    with open_client(address, keys) as client:
        told = repr(client)
        with contextlib.suppress(redis.ConnectionError):
            client.ping()
    reader = RecordingReader(address, keys)
    async with running(reader.run()):
        await eventually(lambda: reader.items)
    told += "".join(blind.reason for blind in reader.outages) + caplog.text
    assert reason in told
    assert SECRET not in told
    assert "correct-horse" not in told


async def test_the_seeds_client_publishes_and_subscribes_in_a_cluster(
    cluster: Cluster, prefix: str
) -> None:
    """Its two links go to one node, and the cluster's bus brings what is published at any other."""
    address = RedisAddress.parse(cluster.url)
    assert answers(address)
    async with RedisClient(address) as client, client.get_subscriber().pubsub() as pubsub:
        await pubsub.subscribe(f"{prefix}x")
        await pubsub.get_message(timeout=5)
        for node in cluster.nodes:
            node.client.publish(f"{prefix}x", node.port)
        observed_until = [await pubsub.get_message(timeout=5) for _ in cluster.nodes]
        assert {int(message["data"]) for message in observed_until if message} == {
            node.port for node in cluster.nodes
        }
        assert await client.get_publisher().publish(f"{prefix}x", "1") is not None


def is_replaced(cluster: Cluster, node: Node) -> bool:
    return node not in cluster.masters


async def test_a_cluster_is_found_again_when_all_that_were_named_are_gone(
    cluster: Cluster, keys: Keys
) -> None:
    publisher = Publisher(RedisAddress.parse(cluster.url), keys)
    publisher.publish([outgoing(n=1)])
    owner = cluster.master
    for node in (*(node for node in cluster.nodes[:3] if node is not owner), owner):
        node.kill()
        await asyncio.to_thread(
            wait_for, functools.partial(is_replaced, cluster, node), "its replica to take over"
        )

    said: list[BusUnavailable] = []

    def is_published() -> bool:
        try:
            return bool(publisher.publish([outgoing(n=2)]))
        except BusUnavailable as error:
            said.append(error)
            return False

    try:
        await eventually(is_published)
    except AssertionError:
        raise said[-1]  # noqa: B904 - why it was in vain
    publisher.close()


def test_a_certificate_is_checked() -> None:
    with start_or_skip(Tls()) as tls:
        plain = tls.url.partition("?")[0]
        with open_client(RedisAddress.parse(plain), None) as client:
            assert "CERTIFICATE_VERIFY_FAILED" in str(fail(client, "PING"))
        other_name = tls.url.replace("127.0.0.1", "127.0.0.2")
        with open_client(RedisAddress.parse(other_name), None) as client:
            assert isinstance(fail(client, "PING"), redis.ConnectionError)
