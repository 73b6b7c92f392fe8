"""Connections are closed when an answer, a sentinel or the cluster shows a wrong node."""

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
    """Send a command that fails, and return the error."""
    with pytest.raises(redis.RedisError) as failure:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    return failure.value


def test_answer_that_means_another_node_or_a_later_time_closes_the_connection(
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
            assert client.client_id() != before, "the next command has a new connection"

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


async def test_blocking_read_ends_when_its_master_becomes_a_replica(
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


def test_lasting_refusal_keeps_the_connection(standalone: Standalone) -> None:
    with open_client(RedisAddress.parse(standalone.url), None) as client:
        before = client.client_id()
        client.set("k", "no list")
        assert is_refusal(fail(client, "RPUSH", "k", 1))
        assert client.client_id() == before


@pytest.mark.parametrize(
    ("text", "is_lasting"),
    [
        ("WRONGTYPE Operation against a key", True),
        ("MISCONF Redis is configured to save RDB snapshots, but it is unable to persist", False),
        ("BUSY Redis is busy running a script", False),
        ("NOREPLICAS Not enough good replicas to write.", False),
        ("Error running script (call to f_1): @user_script:1: -READONLY You can't write", False),
    ],
)
def test_only_lasting_error_answers_are_refusals(text: str, is_lasting: bool) -> None:
    assert is_refusal(redis.ResponseError(text)) is is_lasting


def isolate(node: Node) -> None:
    """Let a server refuse to become a replica, so that its connections stay open."""
    node.client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "default", "-replicaof", "-slaveof"
    )


async def test_all_clients_leave_a_master_that_does_not_know_that_it_was_replaced(
    sentinel: Sentinel, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a master accepts writes and loses them, and its subscribers receive no message.

    Neither shows as an error.
    """
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

            def is_published_to_the_new_master() -> bool:
                with contextlib.suppress(BusUnavailable):
                    publisher.publish([outgoing(n=2)])
                return bool(new.client.xlen(keys.feed) >= 2)

            await eventually(is_published_to_the_new_master)
            # The event is part of a reset: how much the old master replicated is unknown.
            await eventually(lambda: 2 in numbers_of(reader.resets[-1].board))
            assert "failed over" in reader.resets[-1].reason
            await eventually(lambda: ingestor.subscribed.is_set() and new.client.pubsub_numpat())
            assert old.client.role()[0] == b"master"
            assert not old.client.pubsub_numpat()
    finally:
        publisher.close()


def test_replica_that_a_sentinel_names_as_master_is_refused(sentinel: Sentinel, keys: Keys) -> None:
    master = sentinel.master
    (replica,) = (node for node in sentinel.nodes if node is not master)
    for node in sentinel.sentinels:
        node.kill()  # no sentinel corrects the replication
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
        (("/pulse", "/absent"), "it watches no master named 'absent'"),
    ],
)
async def test_connections_and_their_failures_show_no_password(
    sentinel: Sentinel,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    changed: tuple[str, str],
    reason: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    address = RedisAddress.parse(sentinel.url.replace(*changed))
    with open_client(address, keys) as client:
        shown = repr(client)
        with contextlib.suppress(redis.ConnectionError):
            client.ping()
    reader = RecordingReader(address, keys)
    async with running(reader.run()):
        await eventually(lambda: reader.items)
    shown += "".join(blind.reason for blind in reader.outages) + caplog.text
    assert reason in shown
    assert SECRET not in shown
    assert "correct-horse" not in shown


async def test_redis_client_publishes_and_subscribes_in_a_cluster(
    cluster: Cluster, prefix: str
) -> None:
    """Both connections go to one node.

    The cluster's own bus forwards messages that are published at another node.
    """
    address = RedisAddress.parse(cluster.url)
    assert answers(address)
    async with RedisClient(address) as client, client.get_subscriber().pubsub() as pubsub:
        await pubsub.subscribe(f"{prefix}x")
        await pubsub.get_message(timeout=5)
        for node in cluster.nodes:
            node.client.publish(f"{prefix}x", node.port)
        received = [await pubsub.get_message(timeout=5) for _ in cluster.nodes]
        assert {int(message["data"]) for message in received if message} == {
            node.port for node in cluster.nodes
        }
        assert await client.get_publisher().publish(f"{prefix}x", "1") is not None


def is_replaced(cluster: Cluster, node: Node) -> bool:
    return node not in cluster.masters


async def test_cluster_is_found_when_all_nodes_of_the_address_are_gone(
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

    failures: list[BusUnavailable] = []

    def is_published() -> bool:
        try:
            return bool(publisher.publish([outgoing(n=2)]))
        except BusUnavailable as error:
            failures.append(error)
            return False

    try:
        await eventually(is_published)
    except AssertionError:
        raise failures[-1]  # noqa: B904 - the last failure says why
    publisher.close()


def test_certificate_and_host_name_are_checked() -> None:
    with start_or_skip(Tls()) as tls:
        without_ca = tls.url.partition("?")[0]
        with open_client(RedisAddress.parse(without_ca), None) as client:
            assert "CERTIFICATE_VERIFY_FAILED" in str(fail(client, "PING"))
        other_name = tls.url.replace("127.0.0.1", "127.0.0.2")
        with open_client(RedisAddress.parse(other_name), None) as client:
            assert isinstance(fail(client, "PING"), redis.ConnectionError)
