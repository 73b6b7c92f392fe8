"""The tables. Times are milliseconds since the epoch, money is minor units."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All the tables of the demo."""

    type_annotation_map = {int: BigInteger, str: String(200)}  # noqa: RUF012  (SQLAlchemy reads it off the class)


class User(Base):
    """A customer of the bank, known since the first account of theirs was discovered."""

    __tablename__ = "users"

    # SQLite numbers a key by itself only when it is an INTEGER, which the plain int of this map would not be.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str | None]
    discovered_at: Mapped[int]
    balance_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    synced_at: Mapped[int | None] = mapped_column(index=True)


class Account(Base):
    """An account: discovery makes the row, enrichment completes it."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    discovered_at: Mapped[int]

    title: Mapped[str | None]
    product: Mapped[str | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    iban: Mapped[str | None] = mapped_column(String(34))
    branch: Mapped[str | None]
    enriched_at: Mapped[int | None]
    enrich_tries: Mapped[int] = mapped_column(default=0)
    enrich_after: Mapped[int] = mapped_column(default=0)
    enrich_error: Mapped[str | None] = mapped_column(Text)
    given_up_at: Mapped[int | None]

    __table_args__ = (Index("ix_accounts_to_enrich", "enriched_at", "given_up_at", "enrich_after"),)


class Balance(Base):
    """The money of an account as the bank told it last."""

    __tablename__ = "balances"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3))
    booked_minor: Mapped[int]
    available_minor: Mapped[int]
    step: Mapped[int]
    updated_at: Mapped[int]


class SyncRequest(Base):
    """A user whose balance shall be synced first: how discovery hands on to balance-sync, two processes."""

    __tablename__ = "sync_requests"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    requested_at: Mapped[int]
    tries: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[int] = mapped_column(default=0)
