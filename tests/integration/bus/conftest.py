"""Fixtures of the bus: a client, a publisher, a relay, and a Valkey that a test may stop."""

from tests.support.bus import bus, own_valkey, proxy, publisher

__all__ = ["bus", "own_valkey", "proxy", "publisher"]
