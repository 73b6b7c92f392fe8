"""Fixtures of the demo: a bank, its client, and a database."""

from tests.support.demo import bank, board, client, database, database_url, plan, users

__all__ = ["bank", "board", "client", "database", "database_url", "plan", "users"]
