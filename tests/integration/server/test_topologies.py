"""Services, external publishers and servers on each Redis topology, and its failovers."""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server import Message, ServeFixture, Server, Stream, eventually
from tests.support.topology import (
    Cluster,
    Sentinel,
    Standalone,
    Tls,
    UnixSocket,
    WithUsers,
    redis_program,
    valkey_program,
)
from tests.support.topology.node import TIMEOUT_S, Node, ProgramLocator, Topology
from tests.support.topology.replicated import Replicated
from tests.support.valkey import start_or_skip

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.bus.scripts import read_script

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "redis.md"

ServiceFixture = Callable[..., Service]


def documented_rules(user: str, namespace: str, prefix: str) -> str:
    """Return the ACL rules of a user in the reference, for this namespace and prefix."""
    line = re.search(
        rf"^ACL SETUSER {user} on >password (.+)$", REFERENCE.read_text("utf-8"), re.MULTILINE
    )
    assert line is not None
    return (
        line[1]
        .replace("~{pulseboard}:*", f"~{{{namespace}}}:*")
        .replace("&service:*", f"&{prefix}*")
        .replace("&{pulseboard}", f"&{{{namespace}}}")
    )


def acl_rules(namespace: str, prefix: str, more: str = "") -> dict[str, str]:
    names = ("pulseboard-service", "pulseboard-server")
    rules = {name: f"{documented_rules(name, namespace, prefix)} {more}" for name in names}
    return rules | {"external": f"&{prefix}* +publish"}


ARRANGEMENTS: dict[str, Callable[[str, ProgramLocator], Topology]] = {
    "standalone": lambda _, program: Standalone(program),
    "unix socket": lambda _, program: UnixSocket(program),
    "sentinel": lambda _, program: Sentinel(program, password="secret", sentinel_password="other"),
    "cluster": Cluster,
}
PROGRAMS = {"valkey": valkey_program, "redis": redis_program}


@pytest.fixture(params=[f"{program} {name}" for program in PROGRAMS for name in ARRANGEMENTS])
def topology(request: pytest.FixtureRequest, namespace: str) -> Iterator[Topology]:
    program, _, name = request.param.partition(" ")
    with start_or_skip(ARRANGEMENTS[name](namespace, PROGRAMS[program])) as topology:
        yield topology


@pytest.fixture(params=["tls", "mutual tls"])
def tls(request: pytest.FixtureRequest) -> Iterator[Tls]:
    with start_or_skip(Tls(mutual=request.param == "mutual tls")) as topology:
        yield topology


@pytest.fixture(params=PROGRAMS)
def with_users(request: pytest.FixtureRequest, namespace: str, prefix: str) -> Iterator[WithUsers]:
    with start_or_skip(
        WithUsers(acl_rules(namespace, prefix), PROGRAMS[request.param])
    ) as topology:
        yield topology


@pytest.fixture(params=["sentinel", "cluster"])
def replicated(request: pytest.FixtureRequest, namespace: str) -> Iterator[Replicated]:
    arrangement: Replicated = Sentinel() if request.param == "sentinel" else Cluster(namespace)
    with start_or_skip(arrangement) as topology:
        yield topology


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    with start_or_skip(Sentinel()) as topology:
        yield topology


@pytest.fixture
def cluster(namespace: str) -> Iterator[Cluster]:
    with start_or_skip(Cluster(namespace)) as topology:
        yield topology


@pytest.fixture
def service(namespace: str, prefix: str) -> Iterator[ServiceFixture]:
    """Start services of this test's namespace, which stop after the test."""
    with contextlib.ExitStack() as stack:

        def start(url: str, name: str = "balance-sync", *, heartbeat_s: float = 1.0) -> Service:
            made = Service(
                name,
                heartbeat_s=heartbeat_s,
                redis_url=url,
                namespace=namespace,
                channel_prefix=prefix,
            )
            return stack.enter_context(made)

        yield start


def number_of(message: Message, service: str = "balance-sync") -> int:
    """Return the latest `n` of a service in a status or board message, or -1."""
    if message.event == "status" and message.data["service"] == service:
        return int(message.data["status"].get("n", -1))
    if message.event == "board":
        statuses = [one["status"] for one in message.data["instances"] if one["service"] == service]
        return max((int((status or {}).get("n", -1)) for status in statuses), default=-1)
    return -1


def publish_externally(node: Node, prefix: str, n: int) -> None:
    update = {"service": "report", "timestamp": 1_765_584_000_000, "status": {"n": n}}
    node.client.publish(f"{prefix}report", json.dumps(update))


async def check_statuses(
    serve: ServeFixture, url: str, service: Service, nodes: list[Node], prefix: str
) -> None:
    """Check that statuses and external messages arrive once, live and replayed from Redis."""
    server = serve(RedisAddress.parse(url))
    await eventually(server.is_ready)
    async with await server.open("/api/stream?kinds=status") as stream:
        service.update(n=1)
        first = await stream.until(lambda message: number_of(message) == 1)
        for n, node in enumerate(nodes):
            publish_externally(node, prefix, n)
        ingested = [
            (await stream.until(lambda message: is_status_of(message, "report"))) for _ in nodes
        ]
        assert sorted(number_of(message, "report") for message in ingested) == list(
            range(len(nodes))
        )
        service.update(n=2)
        after = await stream.until(lambda message: message.event == "status")
        assert number_of(after) == 2, "no message is ingested twice"
    other = serve(RedisAddress.parse(url))  # its ring has none of these events
    await eventually(other.is_ready)
    async with await other.open(f"/api/stream?kinds=status&since={first.id}") as stream:
        replayed = [
            await stream.until(lambda message: message.event in ("status", "board"))
            for _ in (*ingested, after)
        ]
        assert [message.id for message in replayed] == [
            message.id for message in (*ingested, after)
        ]
    assert server.get("/api/incidents").json() == {"incidents": []}
    await check_other_events(other, service)


async def check_other_events(server: Server, service: Service) -> None:
    """Check a command, a log line, a metric and the past board."""
    path = f"/api/services/{service.name}"
    service.log("info", "hello")
    service.counter("seen").add(2)
    service.command("echo")(lambda text: text)

    def send() -> Any:
        return server.request(
            "POST", f"{path}/commands", json={"command": "echo", "args": {"text": "hello"}}
        )

    await eventually(lambda: send().status_code == 202)
    command_id = send().json()["id"]
    await eventually(lambda: len(server.get(f"/api/commands/{command_id}").json()["receipts"]) == 3)
    assert server.get(f"/api/commands/{command_id}").json()["receipts"][-1]["result"] == "hello"
    await eventually(
        lambda: (
            [line["message"] for line in server.get(f"{path}/logs").json().get("lines", [])]
            == ["hello"]
        )
    )
    await eventually(
        lambda: (
            [metric["name"] for metric in server.get(f"{path}/metrics").json().get("metrics", [])]
            == ["seen"]
        )
    )
    board = server.get("/api/board", params={"at": str(server.runtime.hub.now_ms)}).json()
    assert [each["state"] for each in board["instances"] if each["service"] == service.name] == [
        "alive"
    ]


@pytest.mark.parametrize(
    ("user", "scripts"),
    [
        (
            "pulseboard-service",
            ("publish", "heartbeat", "log", "metric", "claim_command", "receipt"),
        ),
        (
            "pulseboard-server",
            (
                "ingest",
                "is_continuous",
                "declare_lost",
                "evict",
                "receipt",
                "replay",
                "send_command",
                "snapshot",
                "trim",
            ),
        ),
    ],
)
def test_the_reference_grants_every_command_of_the_scripts(
    user: str, scripts: tuple[str, ...]
) -> None:
    called = {
        name.lower()
        for script in scripts
        for name in re.findall(r"redis\.p?call\('([A-Z]+)'", read_script(script))
    }
    granted = {
        rule[1:].partition("|")[0]
        for rule in documented_rules(user, "x", "x:").split()
        if rule[0] == "+"
    }
    assert called
    assert called <= granted


def is_status_of(message: Message, service: str) -> bool:
    return message.event == "status" and message.data["service"] == service


async def test_services_external_publishers_and_servers_work_on_every_topology(
    topology: Topology, serve: ServeFixture, service: ServiceFixture, prefix: str
) -> None:
    # A cluster accepts external messages on any node; a replica of Sentinel does not forward them.
    nodes = topology.nodes if isinstance(topology, Cluster) else topology.nodes[:1]
    await check_statuses(serve, topology.url, service(topology.url), nodes, prefix)


async def test_services_external_publishers_and_servers_work_over_tls(
    tls: Tls, serve: ServeFixture, service: ServiceFixture, prefix: str
) -> None:
    await check_statuses(serve, tls.url, service(tls.url), tls.nodes, prefix)


async def test_permissions_in_the_reference_are_sufficient(
    with_users: WithUsers, serve: ServeFixture, service: ServiceFixture, prefix: str
) -> None:
    one = service(with_users.url_of("pulseboard-service"))
    await check_statuses(
        serve, with_users.url_of("pulseboard-server"), one, with_users.nodes, prefix
    )
    refusals: Any = with_users.nodes[0].client.acl_log()
    # The name of the client library is optional: redis-py tries to set it and works without it.
    assert [entry["object"] for entry in refusals if entry["object"] != "client|setinfo"] == []


class UpdateThread:
    """A thread in which a service publishes the next number every 20 ms until the exit."""

    def __init__(self, service: Service) -> None:
        self.last = 0
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "UpdateThread":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            self.last += 1
            self._service.update(n=self.last)


class Follower:
    """A client of the stream that records the ids that it received."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.ids: list[str] = []
        self.start = ""
        """The cursor of the latest board; earlier events may be missing in the feed."""
        self.resets = 0

    async def follow_to(self, last: Callable[[], int]) -> None:
        """Read until a message shows the number that `last` returns at that moment."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = await self._stream.next()
                self.resets += message.event == "reset"
                if message.event == "board":
                    self.ids, self.start = [], str(message.id)
                elif message.event == "status" and message.id is not None:
                    self.ids.append(message.id)
                if number_of(message) == last():
                    return


def ids_in_feed(node: Node, keys: Keys, after: str) -> list[str]:
    rows: Any = node.client.xrange(keys.feed, f"({after}")
    return [id.decode() for id, fields in rows if fields[b"kind"] == b"status"]


async def change_master(replicated: Replicated, change: str) -> Node:
    if change == "kill":
        return await asyncio.to_thread(replicated.wait_failover, replicated.kill_master())
    return await asyncio.to_thread(getattr(replicated, change))


async def check_change(
    topology: Replicated, change: str, server: Server, service: Service, keys: Keys, prefix: str
) -> None:
    await eventually(server.is_ready)
    async with await server.open("/api/stream?kinds=status") as stream:
        follower = Follower(stream)
        with UpdateThread(service) as updates:
            await follower.follow_to(lambda: 10)
            master = await change_master(topology, change)
            target = updates.last + 10
            await eventually(lambda: updates.last >= target)
        await follower.follow_to(lambda: updates.last)
        assert follower.ids == ids_in_feed(master, keys, follower.start), (
            "each event in order and once, or a reset"
        )
        await eventually(server.is_ready)
        publish_externally(master, prefix, 1)
        await stream.until(lambda message: is_status_of(message, "report"))
    assert server.get("/api/services/status").json()["balanceSync"] == {"n": updates.last}


async def test_kill_of_the_master_causes_a_pause_and_no_unreported_loss(
    replicated: Replicated, serve: ServeFixture, service: ServiceFixture, keys: Keys, prefix: str
) -> None:
    server = serve(RedisAddress.parse(replicated.url))
    await check_change(replicated, "kill", server, service(replicated.url), keys, prefix)


async def test_status_that_the_killed_master_did_not_replicate_is_sent_again(
    sentinel: Sentinel, serve: ServeFixture, service: ServiceFixture, prefix: str
) -> None:
    """Redis had acknowledged the status, so it was not sent again, and the board stayed old."""
    server = serve(RedisAddress.parse(sentinel.url))
    await eventually(server.is_ready)
    one = service(sentinel.url)
    async with await server.open("/api/stream?kinds=status") as stream:
        one.update(n=1)
        await stream.until(lambda message: number_of(message) == 1)
        (replica,) = (node for node in sentinel.nodes if node is not sentinel.master)
        await eventually(lambda: replica.client.exists(f"{{{prefix[:-1]}}}:feed"))
        replica.freeze()
        sentinel.master.client.client_kill_filter(_type="replica")
        one.update(n=2)
        await stream.until(lambda message: number_of(message) == 2)
        killed = sentinel.kill_master()
        replica.thaw()
        await asyncio.to_thread(sentinel.wait_failover, killed)
        await stream.until(lambda message: message.event == "reset")
        await stream.until(lambda message: number_of(message) == 2)


async def test_planned_failover_causes_a_pause_and_no_unreported_loss(
    replicated: Replicated, serve: ServeFixture, service: ServiceFixture, keys: Keys, prefix: str
) -> None:
    server = serve(RedisAddress.parse(replicated.url))
    await check_change(replicated, "fail_over", server, service(replicated.url), keys, prefix)


async def test_clients_follow_a_slot_that_moves_to_another_master(
    cluster: Cluster, serve: ServeFixture, service: ServiceFixture, keys: Keys, prefix: str
) -> None:
    server = serve(RedisAddress.parse(cluster.url))
    await check_change(cluster, "move_slot", server, service(cluster.url), keys, prefix)
