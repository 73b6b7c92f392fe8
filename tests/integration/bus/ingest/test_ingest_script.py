"""ingest.lua against servers that join, hear, report late, report twice and die in any order: each publish once."""

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


class Told:
    """What Redis tells its subscribers, in its one order: publishes of a payload, and the words that begin epochs."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str]] = []

    def publish(self, payload: str) -> None:
        self.words.append(("plain", payload))

    def mark(self) -> None:
        self.words.append(("epoch", uuid.uuid4().hex[:16]))


class Ear:
    """A server: it hears all since its own word, and reports it in order, when it comes to that."""

    def __init__(self, told: Told, raw: redis.Redis, keys: Keys) -> None:
        self.server = uuid.uuid4().hex[:16]
        self.at = len(told.words)
        told.mark()
        self.reported: set[int] = set()
        self._told, self._keys = told, keys
        self._script = raw.register_script(read_script("ingest"))
        self._epoch = ""
        self._batches = 0
        self._last: tuple[list[str], list[str | bytes | int]] | None = None

    def report(self, most: int) -> None:
        """Report up to so many of what it heard and did not report yet."""
        self._batches += 1
        keys = [
            *self._keys.shared,
            self._keys.ingestor(self.server),
            self._keys.open_commands,
            self._keys.audit,
        ]
        args: list[str | bytes | int] = [DEFAULT_LIMITS, self.server, 60_000, self._batches, 60_000]
        while most and self.at < len(self._told.words):
            kind, word = self._told.words[self.at]
            if kind == "epoch":
                self._epoch = word
            else:
                keys += [
                    self._keys.history("x"),
                    self._keys.planned_returns("x"),
                    self._keys.ingested(self._epoch, word),
                ]
                args += ["status", "x/", '{"status":{}}', ""]
                self.reported.add(self.at)
                most -= 1
            self.at += 1
        self._last = keys, args
        self.report_again()

    def report_again(self) -> None:
        """Send the last batch, as after a lost answer."""
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
def names(raw: redis.Redis) -> Iterator[list[str]]:
    """The namespaces that a test used, to be emptied after it."""
    used: list[str] = []
    yield used
    for name in used:
        if found := list(raw.scan_iter(f"{{{name}}}:*", count=1_000)):
            raw.delete(*found)


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_what_any_server_heard_and_lived_to_report_is_adopted_once(
    raw: redis.Redis, names: list[str], steps: list[tuple[str, int, int]]
) -> None:
    names.append(uuid.uuid4().hex)
    keys, told = Keys(names[-1]), Told()
    ears: list[Ear] = []
    dead: list[Ear] = []

    def check() -> None:
        reported: set[int] = set().union(*(ear.reported for ear in (*ears, *dead)))
        assert raw.xlen(keys.feed) == len(reported)

    for what, which, count in steps:
        if what == "join":
            ears.append(Ear(told, raw, keys))
        elif what == "publish":
            for _ in range(count):
                told.publish(PAYLOADS[which])
        elif which < len(ears):
            if what == "report":
                ears[which].report(count)
            elif what == "again":
                ears[which].report_again()
            else:
                dead.append(ears.pop(which))
        check()
    for ear in ears:
        ear.report(1_000)
        check()
