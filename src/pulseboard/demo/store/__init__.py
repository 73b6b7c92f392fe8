"""The database of the three services: users, accounts, balances and sync requests.

It is SQLite or PostgreSQL. `models` defines the tables, `database` opens them and provides
transactions, `accounts` and `balances` contain the queries. Invariant: every query is one statement
or one short transaction, and is safe while two other processes use the database.
"""

from pulseboard.demo.store.database import Database, StoreError

__all__ = ["Database", "StoreError"]
