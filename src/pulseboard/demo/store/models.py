"""The tables of the demo.

Times are milliseconds since the epoch. Amounts (`…_minor`) are in minor units, such as cents.
"""

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
    """A customer of the bank; account-discovery adds the row with the first account."""

    __tablename__ = "users"

    # SQLite generates key values only for a column of type INTEGER, and `type_annotation_map` makes
    # this column a BIGINT.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str | None]
    discovered_at: Mapped[int]
    balance_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    synced_at: Mapped[int | None] = mapped_column(index=True)


class Account(Base):
    """An account of a user.

    account-discovery creates the row; account-enrichment sets the columns from `title` on.
    """

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
    """The time from which account-enrichment may try again after a failure."""
    enrich_error: Mapped[str | None] = mapped_column(Text)
    abandoned_at: Mapped[int | None]

    __table_args__ = (
        Index("ix_accounts_to_enrich", "enriched_at", "abandoned_at", "enrich_after"),
    )


class Balance(Base):
    """The latest balance that the bank returned for an account."""

    __tablename__ = "balances"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3))
    booked_minor: Mapped[int]
    available_minor: Mapped[int]
    step: Mapped[int]
    """The step of the bank's time at which the bank computed this balance."""
    updated_at: Mapped[int]


class SyncRequest(Base):
    """The request of account-discovery that balance-sync syncs the balances of a user."""

    __tablename__ = "sync_requests"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    requested_at: Mapped[int]
    tries: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[int] = mapped_column(default=0)
    """The time from which balance-sync may try again after a failure."""
