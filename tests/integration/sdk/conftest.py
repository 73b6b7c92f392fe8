"""Fixtures of the SDK: services, programs that use one, and a view of Redis."""

from tests.support.sdk import make_service, own_valkey, redis_view, run_program

__all__ = ["make_service", "own_valkey", "redis_view", "run_program"]
