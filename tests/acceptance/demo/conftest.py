"""Fixtures of the demo: a bank, its client, and a database."""

from tests.support.demo import bank, client, database, database_url, plan, sink, users

__all__ = ["bank", "client", "database", "database_url", "plan", "sink", "users"]
