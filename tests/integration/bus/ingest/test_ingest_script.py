"""ingest.lua ingests each external message once, for any order of joins, reports and deaths."""

import uuid
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from pulseboard.bus.keys import Keys
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script

PAYLOADS = ("a", "b")


class Channel:
    """The messages that Redis delivers to every subscriber in one order.

    Each is an external message with a payload, or the marker that begins an epoch.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    def publish(self, payload: str) -> None:
        self.messages.append(("external", payload))

    def mark(self) -> None:
        self.messages.append(("epoch", uuid.uuid4().hex[:16]))


class SimulatedServer:
    """A server that receives every message after its own marker and reports them in order."""

    def __init__(self, channel: Channel, raw: redis.Redis, keys: Keys) -> None:
        self.server = uuid.uuid4().hex[:16]
        self.position = len(channel.messages)
        channel.mark()
        self.reported: set[int] = set()
        self._channel, self._keys = channel, keys
        self._script = raw.register_script(read_script("ingest"))
        self._epoch = ""
        self._batches = 0
        self._last: tuple[list[str], list[str | bytes | int]] | None = None

    def report(self, max_messages: int) -> None:
        """Report at most `max_messages` received messages that were not reported yet."""
        self._batches += 1
        keys = [
            *self._keys.shared,
            self._keys.ingestor(self.server),
            self._keys.open_commands,
            self._keys.audit,
        ]
        args: list[str | bytes | int] = [DEFAULT_LIMITS, self.server, 60_000, self._batches, 60_000]
        while max_messages and self.position < len(self._channel.messages):
            kind, value = self._channel.messages[self.position]
            if kind == "epoch":
                self._epoch = value
            else:
                keys += [
                    self._keys.history("x"),
                    self._keys.planned_returns("x"),
                    self._keys.ingested(self._epoch, value),
                ]
                args += ["status", "x/", '{"status":{}}', ""]
                self.reported.add(self.position)
                max_messages -= 1
            self.position += 1
        self._last = keys, args
        self.report_again()

    def report_again(self) -> None:
        """Send the last batch again, as after a lost answer."""
        if self._last is not None:
            self._script(keys=self._last[0], args=self._last[1])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.just(0), st.just(0)),
        st.tuples(st.just("publish"), st.integers(0, len(PAYLOADS) - 1), st.integers(1, 4)),
        st.tuples(st.just("report"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("again"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("die"), st.integers(0, 3), st.just(0)),
    ),
    max_size=40,
)


@pytest.fixture
def namespaces(raw: redis.Redis) -> Iterator[list[str]]:
    """Return a list for the namespaces that a test uses; their keys are deleted after it."""
    used: list[str] = []
    yield used
    for namespace in used:
        if found := list(raw.scan_iter(f"{{{namespace}}}:*", count=1_000)):
            raw.delete(*found)


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_each_message_that_any_server_reports_is_ingested_once(
    raw: redis.Redis, namespaces: list[str], steps: list[tuple[str, int, int]]
) -> None:
    namespaces.append(uuid.uuid4().hex)
    keys, channel = Keys(namespaces[-1]), Channel()
    servers: list[SimulatedServer] = []
    dead: list[SimulatedServer] = []

    def check() -> None:
        reported: set[int] = set().union(*(server.reported for server in (*servers, *dead)))
        assert raw.xlen(keys.feed) == len(reported)

    for action, number, count in steps:
        if action == "join":
            servers.append(SimulatedServer(channel, raw, keys))
        elif action == "publish":
            for _ in range(count):
                channel.publish(PAYLOADS[number])
        elif number < len(servers):
            if action == "report":
                servers[number].report(count)
            elif action == "again":
                servers[number].report_again()
            else:
                dead.append(servers.pop(number))
        check()
    for server in servers:
        server.report(1_000)
        check()
