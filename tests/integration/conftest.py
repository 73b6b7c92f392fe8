"""Fixtures of the integration ring: a real Valkey, shared by the session."""

from tests.support.valkey import address, raw, valkey

__all__ = ["address", "raw", "valkey"]
