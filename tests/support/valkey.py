"""A real Valkey, and a corner of it that is the test's own."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from tests.support.topology import MissingProgram
from tests.support.topology.node import Topology

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.embedded.valkey import EmbeddedValkey

AnyTopology = TypeVar("AnyTopology", bound=Topology)


def free_port() -> int:
    """Return a port of loopback that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def run_valkey(port: int | None = None) -> Iterator[EmbeddedValkey]:
    """Run a Valkey of the caller's own, to stop, freeze or fill as it likes."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-test-") as folder,
        EmbeddedValkey(Path(folder), port=port or free_port()) as valkey,
    ):
        yield valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A real Valkey on a private port, shared by the session: keep to your own namespace and prefix."""
    with run_valkey() as server:
        yield server


@pytest.fixture
def address(valkey: EmbeddedValkey) -> RedisAddress:
    return valkey.address


@pytest.fixture
def raw(address: RedisAddress) -> Iterator[redis.Redis]:
    """A plain client of the session's Valkey, as any other program has."""
    with redis.Redis(host=address.host, port=address.port, protocol=2) as client:
        yield client


@contextlib.contextmanager
def start_or_skip(topology: AnyTopology) -> Iterator[AnyTopology]:
    """Run servers in some arrangement; skip the test where a program for it is missing, but never in CI."""
    try:
        topology.__enter__()
    except MissingProgram as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    with contextlib.ExitStack() as stack:
        stack.push(topology.__exit__)
        yield topology
