"""Opens the database, SQLite or PostgreSQL, and provides short transactions.

The three processes of the demo share the database. A SQLite file therefore has a write-ahead log
(readers and one writer work at the same time) and a busy timeout (a writer waits up to 5 s for the
lock). A write transaction acquires the lock when it begins. If it read first, SQLite could reject
its first write immediately, without the wait. Errors of the driver become StoreError.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Self, cast

from sqlalchemy import Connection, Table, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from pulseboard.demo.store.models import Base

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_BUSY_TIMEOUT_MS = 5000
_POOL_SIZE = 5
_CREATE_LOCK = 0x70756C7365  # an arbitrary number, the same in all three processes
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class StoreError(Exception):
    """The database failed."""


def parse_url(raw: str) -> URL:
    """Parse a database URL and select its asynchronous driver.

    Raises ValueError; the message never contains the password.
    """
    try:
        url = make_url(raw)
    except ArgumentError as error:
        raise ValueError("the database URL is invalid; write it like sqlite:///demo.db") from error
    if url.drivername not in _DRIVERS:
        raise ValueError(
            f"the database URL must begin with sqlite:// or postgresql://, not {url.drivername}://"
        )
    if url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise ValueError("three processes share the database: use a SQLite file instead of memory")
    return url.set(drivername=_DRIVERS[url.drivername])


class Database:
    """A pool of connections; `async with` closes it at the end of the block."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect and create missing tables.

        Raises ValueError for an invalid URL, and StoreError if the database fails.
        """
        parsed = parse_url(url)
        engine = create_async_engine(
            parsed, pool_size=_POOL_SIZE, max_overflow=0, pool_pre_ping=not _is_sqlite(parsed)
        )
        if _is_sqlite(parsed):
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        database = cls(engine)
        try:
            with _errors_as_store_error():
                await asyncio.to_thread(_probe_sqlite, parsed)
            async with database.write() as connection:
                await connection.run_sync(_create_tables)
        except StoreError:
            await database.close()
            raise
        return database

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for reads; raises StoreError.

        With SQLite all reads of the block see one snapshot, with PostgreSQL each statement its own.
        """
        with _errors_as_store_error():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a short transaction that commits at the end; raises StoreError."""
        with _errors_as_store_error():
            async with self._engine.connect() as pooled:
                connection = await pooled.execution_options(pulseboard_writes=True)
                async with connection.begin():
                    yield connection


def insert_into(
    connection: AsyncConnection, model: type[Base]
) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT for the database in use.

    Unlike the general INSERT of SQLAlchemy, it supports ON CONFLICT.
    """
    # The imports are here, because each takes 0.1 s and a process needs only one of them.
    table = cast("Table", model.__table__)
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)


def now_ms() -> int:
    """Return the current time in ms since the epoch, the unit of all tables and statuses."""
    return time.time_ns() // 1_000_000


@contextmanager
def _errors_as_store_error() -> Iterator[None]:
    try:
        yield
    # The SQLite driver raises OverflowError for an integer of more than 64 bits.
    except (SQLAlchemyError, sqlite3.Error, OSError, TimeoutError, OverflowError) as error:
        raise StoreError(_describe(error)) from error


def _describe(error: Exception) -> str:
    """Return the driver's message, without the statement and its parameters."""
    return f"the database failed: {getattr(error, 'orig', None) or error}"


def _is_sqlite(url: URL) -> bool:
    return url.drivername.startswith("sqlite")


def _probe_sqlite(url: URL) -> None:
    # If aiosqlite cannot open the file, its thread reports the error to an event loop, which may be
    # closed at that time. So this function first tries to open the file without aiosqlite.
    if _is_sqlite(url) and not (url.database or "").startswith("file:"):
        sqlite3.connect(url.database or "").close()


def _create_tables(connection: Connection) -> None:
    # `create_all` first looks for a table and then creates it. Three processes start at the same
    # time, so each must do both steps under a lock. SQLite's write transaction is such a lock.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATE_LOCK})
    Base.metadata.create_all(connection)


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # `_begin_sqlite` executes BEGIN itself
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: DBAPICursor) -> None:
    # The switch needs exclusive access to the file. SQLite may reject it at once, despite the busy
    # timeout, while another process opens the file.
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("pulseboard_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
