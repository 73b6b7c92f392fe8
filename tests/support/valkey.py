"""A real Valkey server for the session, servers for single tests, and free ports."""

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
    """Return a loopback port on which no program listens at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def run_valkey(port: int | None = None) -> Iterator[EmbeddedValkey]:
    """Run a Valkey server that the caller may stop, freeze or fill."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-test-") as folder,
        EmbeddedValkey(Path(folder), port=port or free_port()) as valkey,
    ):
        yield valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """Run a real Valkey on a private port, shared by the session.

    A test uses only its own namespace and prefix.
    """
    with run_valkey() as server:
        yield server


@pytest.fixture
def address(valkey: EmbeddedValkey) -> RedisAddress:
    return valkey.address


@pytest.fixture
def raw(address: RedisAddress) -> Iterator[redis.Redis]:
    """Open a redis-py client of the session's Valkey, as any other program would."""
    with redis.Redis(host=address.host, port=address.port, protocol=2) as client:
        yield client


@contextlib.contextmanager
def start_or_skip(topology: AnyTopology) -> Iterator[AnyTopology]:
    """Run the servers of a topology.

    If a program that it needs is not installed, skip the test; in CI, fail it.
    """
    try:
        topology.__enter__()
    except MissingProgram as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    with contextlib.ExitStack() as stack:
        stack.push(topology.__exit__)
        yield topology
