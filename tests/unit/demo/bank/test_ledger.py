"""The content of the bank depends only on its seed and its step."""

from __future__ import annotations

import itertools

import pytest

from pulseboard.demo.bank.ledger import Ledger, LedgerPlan

PLAN = LedgerPlan(seed=3, customers=6, accounts=20, opening_every=2, max_accounts=60)


def ledger_at(step: int) -> Ledger:
    return Ledger(PLAN, lambda: step)


def content(plan: LedgerPlan, step: int) -> list[object]:
    ledger = Ledger(plan, lambda: step)
    accounts = range(ledger.account_count())
    return [
        [ledger.customer(index) for index in range(ledger.customer_count())],
        [ledger.account_detail(index) for index in accounts],
        [ledger.account_balance(index) for index in accounts],
    ]


def test_same_seed_and_step_give_the_same_bank() -> None:
    assert content(PLAN, 17) == content(PLAN, 17)


def test_another_seed_gives_other_customers_and_balances() -> None:
    other = LedgerPlan(seed=4, customers=6, accounts=20, opening_every=2, max_accounts=60)
    for one, another in zip(content(PLAN, 17), content(other, 17), strict=True):
        assert one != another


def test_accounts_open_at_the_end_of_the_list_up_to_the_maximum() -> None:
    steps = [ledger_at(step) for step in (0, 2, 9, 10_000)]
    assert [ledger.account_count() for ledger in steps] == [20, 21, 24, 60]
    lists = [
        [ledger.account_entry(index) for index in range(ledger.account_count())] for ledger in steps
    ]
    for earlier, later in itertools.pairwise(lists):
        assert later[: len(earlier)] == earlier
    assert len({entry.account_id for entry in lists[-1]}) == 60


def test_every_account_belongs_to_an_existing_customer() -> None:
    for step in range(90):
        ledger = ledger_at(step)
        owners = {
            ledger.account_entry(index).customer_id for index in range(ledger.account_count())
        }
        known = {ledger.customer(index).customer_id for index in range(ledger.customer_count())}
        assert owners == known


def test_every_id_is_found_at_its_index_and_no_other_id_is_found() -> None:
    ledger = Ledger(PLAN, lambda: 8)
    for index in range(ledger.account_count()):
        assert ledger.find_account(ledger.account_entry(index).account_id) == index
    for index in range(ledger.customer_count()):
        assert ledger.find_customer(ledger.customer(index).customer_id) == index
    unopened = Ledger(PLAN, lambda: 10_000).account_entry(59).account_id
    for unknown_id in (
        unopened,
        "",
        "10",
        "1012345",
        "x012345678",
        "10" + "\N{FULLWIDTH DIGIT ONE}" * 8,
        "99" * 50,
    ):
        assert ledger.find_account(unknown_id) is None
        assert ledger.find_customer(unknown_id) is None


def test_balances_change_over_time_in_whole_cents() -> None:
    balances = [ledger_at(step).account_balance(0) for step in range(60)]
    assert all(
        type(balance.booked_minor) is int and type(balance.available_minor) is int
        for balance in balances
    )
    assert 8 <= len({balance.booked_minor for balance in balances}) < 60
    assert all(balance.available_minor <= balance.booked_minor for balance in balances)


def test_ibans_carry_valid_check_digits() -> None:
    iban = Ledger(PLAN, lambda: 0).account_detail(5).iban
    digits = "".join(str(int(char, 36)) for char in iban[4:] + iban[:4])
    assert int(digits) % 97 == 1


@pytest.mark.parametrize(
    "invalid",
    [
        {"customers": 0},
        {"accounts": 3},
        {"opening_every": 0},
        {"max_accounts": 19},
        {"max_accounts": 10**7},
    ],
)
def test_invalid_plan_is_rejected(invalid: dict[str, int]) -> None:
    valid = {"customers": 6, "accounts": 20, "opening_every": 2, "max_accounts": 60}
    with pytest.raises(ValueError, match=r"accounts|opening_every|max_accounts"):
        LedgerPlan(**valid | invalid)
