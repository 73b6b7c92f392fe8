"""Fixtures of the SDK: services, host programs, and a view of Redis."""

from tests.support.sdk import make_service, own_valkey, redis_view, run_program

__all__ = ["make_service", "own_valkey", "redis_view", "run_program"]
