"""The tables. Times are milliseconds since the epoch, amounts are in minor units (cents)."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of all tables of the demo."""

    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads this class attribute)
        int: BigInteger,
        str: String(200),
    }


class User(Base):
    """A customer of the bank, created when the first of their accounts was discovered."""

    __tablename__ = "users"

    # SQLite generates key values only for INTEGER, and the map above turns int into BIGINT.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str | None]
    discovered_at: Mapped[int]
    balance_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    synced_at: Mapped[int | None] = mapped_column(index=True)


class Account(Base):
    """An account: discovery creates the row, enrichment completes it."""

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
    abandoned_at: Mapped[int | None]

    __table_args__ = (
        Index("ix_accounts_to_enrich", "enriched_at", "abandoned_at", "enrich_after"),
    )


class Balance(Base):
    """The last balance of an account that the bank returned."""

    __tablename__ = "balances"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3))
    booked_minor: Mapped[int]
    available_minor: Mapped[int]
    step: Mapped[int]
    updated_at: Mapped[int]


class SyncRequest(Base):
    """A request of account-discovery, to balance-sync, for the sync of a user."""

    __tablename__ = "sync_requests"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    requested_at: Mapped[int]
    tries: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[int] = mapped_column(default=0)
