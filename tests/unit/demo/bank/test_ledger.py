"""The bank's world follows from its seed and its step alone."""

from __future__ import annotations

import itertools

import pytest

from pulseboard.demo.bank.ledger import Ledger, LedgerPlan

PLAN = LedgerPlan(seed=3, customers=6, accounts=20, opening_every=2, max_accounts=60)


def world(plan: LedgerPlan, step: int) -> list[object]:
    ledger = Ledger(plan, lambda: step)
    accounts = range(ledger.account_count())
    return [
        [ledger.customer(index) for index in range(ledger.customer_count())],
        [ledger.account_detail(index) for index in accounts],
        [ledger.account_balance(index) for index in accounts],
    ]


def test_same_seed_and_step_give_the_same_world() -> None:
    assert world(PLAN, 17) == world(PLAN, 17)


def test_another_seed_gives_other_people_and_other_money() -> None:
    other = LedgerPlan(seed=4, customers=6, accounts=20, opening_every=2, max_accounts=60)
    for mine, theirs in zip(world(PLAN, 17), world(other, 17), strict=True):
        assert mine != theirs


def test_accounts_open_over_time_behind_those_there_are_and_stop_at_the_cap() -> None:
    steps = [Ledger(PLAN, lambda step=step: step) for step in (0, 2, 9, 10_000)]  # type: ignore[misc]
    assert [ledger.account_count() for ledger in steps] == [20, 21, 24, 60]
    lists = [
        [ledger.account_entry(index) for index in range(ledger.account_count())] for ledger in steps
    ]
    for earlier, later in itertools.pairwise(lists):
        assert later[: len(earlier)] == earlier
    assert len({entry.account_id for entry in lists[-1]}) == 60


def test_every_account_belongs_to_a_customer_who_is_known_then() -> None:
    for step in range(90):
        ledger = Ledger(PLAN, lambda step=step: step)  # type: ignore[misc]
        owners = {
            ledger.account_entry(index).customer_id for index in range(ledger.account_count())
        }
        known = {ledger.customer(index).customer_id for index in range(ledger.customer_count())}
        assert owners == known


def test_every_id_leads_back_to_its_place_and_no_other_id_does() -> None:
    ledger = Ledger(PLAN, lambda: 8)
    for index in range(ledger.account_count()):
        assert ledger.find_account(ledger.account_entry(index).account_id) == index
    for index in range(ledger.customer_count()):
        assert ledger.find_customer(ledger.customer(index).customer_id) == index
    unopened = Ledger(PLAN, lambda: 10_000).account_entry(59).account_id
    for stranger in (
        unopened,
        "",
        "10",
        "1012345",
        "x012345678",
        "10" + "\N{FULLWIDTH DIGIT ONE}" * 8,
        "99" * 50,
    ):
        assert ledger.find_account(stranger) is None
        assert ledger.find_customer(stranger) is None


def test_balances_move_over_time_in_whole_cents() -> None:
    balances = [Ledger(PLAN, lambda step=step: step).account_balance(0) for step in range(60)]  # type: ignore[misc]
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
    "wrong",
    [
        {"customers": 0},
        {"accounts": 3},
        {"opening_every": 0},
        {"max_accounts": 19},
        {"max_accounts": 10**7},
    ],
)
def test_world_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    fine = {"customers": 6, "accounts": 20, "opening_every": 2, "max_accounts": 60}
    with pytest.raises(ValueError, match=r"accounts|opening_every|max_accounts"):
        LedgerPlan(**fine | wrong)
