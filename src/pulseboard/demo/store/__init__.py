"""What the three services know: users, their accounts, balances, and who waits for a sync. SQLite or PostgreSQL.

`models` are the tables, `database` opens them and gives short transactions, the rest are the queries, by what they are
about. Invariant: every query is one statement or one short transaction, safe beside two other processes.
"""

from pulseboard.demo.store.database import Database, StoreError

__all__ = ["Database", "StoreError"]
