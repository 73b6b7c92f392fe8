"""Fixtures of the SDK: services, host programs, and a view of Redis."""

from tests.support.sdk import make, own_valkey, run_host, sight

__all__ = ["make", "own_valkey", "run_host", "sight"]
