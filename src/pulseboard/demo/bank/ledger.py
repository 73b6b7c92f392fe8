"""Customers, accounts and balances as a pure function of a seed and a step.

Nothing is stored: any account at any step is computed from hashes, in constant time, so the same
seed and step always give the same balance. Invariant: accounts and customers are only added at the
end of their list, so an index never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

import msgspec

from pulseboard.demo.bank.values import AccountBalance, AccountDetail, AccountEntry, Customer

_FIRST = """
Ada Amina Anna Ben Bruno Chidi Clara Dana David Elena Emil Farah Finn Greta Hana Hugo Ida Ines Ivan
Jana Jonas Kaito Lea Leon Lina Luca Maja Malik Marta Mila Nadia Noah Nora Omar Oskar Paula Rosa
Samir Sara Tomas Vera Yara Zoe
"""
_FIRST_NAMES = _FIRST.split()
_LAST = """
Abara Adler Almeida Banerjee Berg Bianchi Castro Costa Dahl Demir Diallo Eriksen Fischer Fontana
Garcia Haas Ibrahim Ito Jansen Kaya Keller Kowalski Larsen Lopez Marino Meyer Moreau Nagy Novak
Okafor Olsen Petrov Rossi Santos Schmid Silva Suzuki Tanaka Vogel Weber Yilmaz Zhang
"""
_LAST_NAMES = _LAST.split()
_SEGMENTS = ("retail", "retail", "retail", "premium", "business")
_PRODUCTS = (
    "Current Account",
    "Current Account",
    "Savings Account",
    "Term Deposit",
    "Joint Account",
)
_BRANCHES = ("Central", "Harbour", "Northgate", "Old Town", "Riverside", "University")
_CURRENCY = "EUR"
_OPENED_PER_NEW_CUSTOMER = 4

# Ids look random, as real ones do, but need no table: a multiplication modulo a power of ten by a
# factor without common divisors has an inverse.
_ACCOUNT_SPACE, _ACCOUNT_FACTOR = 10**8, 61_803_399
_CUSTOMER_SPACE, _CUSTOMER_FACTOR = 10**6, 618_033

# Movements of a balance: every `period` steps by up to `swing` cents. Small payments are frequent;
# salaries and rents are rare.
_MOVES = ((4, 60_00), (45, 1_800_00))


class LedgerPlan(msgspec.Struct, frozen=True):
    """The size and growth of the bank; raises ValueError when a value is out of range."""

    seed: Annotated[int, msgspec.Meta(description="The same seed gives the same bank.")] = 1
    customers: Annotated[int, msgspec.Meta(description="Customers at step 0.")] = 48
    accounts: Annotated[int, msgspec.Meta(description="Accounts at step 0.")] = 120
    opening_every: Annotated[int, msgspec.Meta(description="Steps between two openings.")] = 3
    max_accounts: Annotated[int, msgspec.Meta(description="Maximum number of accounts.")] = 1000

    def __post_init__(self) -> None:
        if self.customers < 1 or self.accounts < self.customers:
            raise ValueError("customers must be at least 1, and accounts at least customers")
        if self.opening_every < 1:
            raise ValueError("opening_every must be at least 1 step")
        if not self.accounts <= self.max_accounts <= 1_000_000:
            raise ValueError("max_accounts must be between accounts and 1,000,000")


class Ledger:
    """Customers, accounts and balances at the step that `clock` returns."""

    def __init__(self, plan: LedgerPlan, clock: Callable[[], int]) -> None:
        self.plan = plan
        self.clock = clock
        self._account_shift = self._draw("accounts") % _ACCOUNT_SPACE
        self._customer_shift = self._draw("customers") % _CUSTOMER_SPACE

    def account_count(self) -> int:
        """Return the number of open accounts."""
        return min(
            self.plan.max_accounts, self.plan.accounts + self.clock() // self.plan.opening_every
        )

    def customer_count(self) -> int:
        """Return the number of customers; every fourth opened account has a new one."""
        return self._customers_with(self.account_count())

    def account_entry(self, index: int) -> AccountEntry:
        """Return the account at an index of the list."""
        return AccountEntry(self._account_id(index), self._customer_id(self._owner(index)))

    def find_account(self, account_id: str) -> int | None:
        """Return the index of an open account, or None."""
        number = _parse_number(account_id, "10", 8)
        if number is None:
            return None
        index = (
            (number - self._account_shift)
            * pow(_ACCOUNT_FACTOR, -1, _ACCOUNT_SPACE)
            % _ACCOUNT_SPACE
        )
        return index if index < self.account_count() else None

    def find_customer(self, customer_id: str) -> int | None:
        """Return the index of a customer, or None."""
        number = _parse_number(customer_id, "", 6)
        if number is None:
            return None
        index = (
            (number - self._customer_shift)
            * pow(_CUSTOMER_FACTOR, -1, _CUSTOMER_SPACE)
            % _CUSTOMER_SPACE
        )
        return index if index < self.customer_count() else None

    def customer(self, index: int) -> Customer:
        """Return the customer at an index of the list."""
        first = _FIRST_NAMES[self._draw("first", index) % len(_FIRST_NAMES)]
        last = _LAST_NAMES[self._draw("last", index) % len(_LAST_NAMES)]
        segment = _SEGMENTS[self._draw("segment", index) % len(_SEGMENTS)]
        return Customer(self._customer_id(index), f"{first} {last}", segment)

    def account_detail(self, index: int) -> AccountDetail:
        """Return the constant details of the account at an index of the list."""
        account_id, owner = self._account_id(index), self.customer(self._owner(index))
        product = _PRODUCTS[self._draw("product", index) % len(_PRODUCTS)]
        return AccountDetail(
            account_id=account_id,
            customer_id=owner.customer_id,
            title=f"{owner.name}, {product}",
            product=product,
            currency=_CURRENCY,
            iban=_iban(account_id),
            branch=_BRANCHES[self._draw("branch", index) % len(_BRANCHES)],
            opened_step=max(0, index - self.plan.accounts + 1) * self.plan.opening_every,
        )

    def account_balance(self, index: int) -> AccountBalance:
        """Return the balance, at this step, of the account at an index of the list."""
        step = self.clock()
        booked = 250_00 + self._draw("base", index) % 25_000_00
        for period, swing in _MOVES:
            phase = self._draw("phase", index, period) % period
            booked += (
                self._draw("move", index, period, (step + phase) // period) % (2 * swing) - swing
            )
        held = self._draw("held", index, step // _MOVES[0][0]) % 90_00
        return AccountBalance(self._account_id(index), _CURRENCY, booked, booked - held, step)

    def _draw(self, *labels: object) -> int:
        text = ":".join(map(str, (self.plan.seed, *labels)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")

    def _account_id(self, index: int) -> str:
        return f"10{(index * _ACCOUNT_FACTOR + self._account_shift) % _ACCOUNT_SPACE:08d}"

    def _customer_id(self, index: int) -> str:
        return f"{(index * _CUSTOMER_FACTOR + self._customer_shift) % _CUSTOMER_SPACE:06d}"

    def _customers_with(self, accounts: int) -> int:
        return self.plan.customers + -(-(accounts - self.plan.accounts) // _OPENED_PER_NEW_CUSTOMER)

    def _owner(self, index: int) -> int:
        if index < self.plan.customers:
            return index  # every customer has an account
        opened = index - self.plan.accounts
        if opened < 0:
            return self._draw("owner", index) % self.plan.customers
        known = self._customers_with(index)
        if opened % _OPENED_PER_NEW_CUSTOMER == 0:
            return known
        return self._draw("owner", index) % known


def _parse_number(text: str, prefix: str, digits: int) -> int | None:
    number = text.removeprefix(prefix)
    if (
        not text.startswith(prefix)
        or len(number) != digits
        or not (number.isascii() and number.isdigit())
    ):
        return None
    return int(number)


def _iban(account_id: str) -> str:
    """Return an IBAN with the check digits of ISO 13616 that is not a real account.

    ISO 3166 reserves the country code ZZ for users.
    """
    check = 98 - int(f"{account_id}353500") % 97  # Z is 35
    return f"ZZ{check:02d}{account_id}"
