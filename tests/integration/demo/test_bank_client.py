"""The client retries with delays, within bounds."""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate

import pytest
from tests.support.demo import QUICK, Bank

from pulseboard.demo.bank.faults import FaultSettings
from pulseboard.demo.bank_client import (
    BankClient,
    BankInvalidResponse,
    BankNotFound,
    BankRefused,
    BankThrottled,
    BankUnavailable,
    RetryPolicy,
    _parse_retry_after,
)


async def test_client_waits_for_retry_after(bank: Bank, client: BankClient) -> None:
    bank.fail_next("accounts", 429, retry_after="1")
    started = asyncio.get_running_loop().time()
    assert (await client.list_accounts()).body
    assert asyncio.get_running_loop().time() - started >= 1
    assert bank.count("accounts") == 2


async def test_retry_after_beyond_the_policy_fails_at_once(bank: Bank, client: BankClient) -> None:
    bank.fail_next("accounts", 429, retry_after="3600")
    with pytest.raises(BankThrottled):
        await client.list_accounts()
    assert bank.count("accounts") == 1


async def test_5xx_and_429_are_retried_until_a_request_succeeds(
    bank: Bank, client: BankClient
) -> None:
    retries: list[None] = []
    client.on_retry = lambda: retries.append(None)
    bank.fail_next("accounts", 503, 429)
    assert len((await client.list_accounts()).body) == 4
    assert (bank.count("accounts"), len(retries)) == (3, 2)


async def test_tries_are_bounded(bank: Bank, client: BankClient) -> None:
    bank.faults.settings = FaultSettings(0, 0, error_rate=1)
    with pytest.raises(BankUnavailable, match=r"core banking system .*\(50[023]\)"):
        await client.list_accounts()
    assert bank.count("accounts") == QUICK.max_tries


async def test_refused_requests_are_not_retried(bank: Bank, client: BankClient) -> None:
    with pytest.raises(BankNotFound) as unknown:
        await client.get_account("1000000000")
    assert (unknown.value.status, unknown.value.code) == (404, "unknown-account")
    with pytest.raises(BankRefused, match="cursor") as refused:
        await client.list_accounts("made-up")
    assert refused.value.code == "bad-cursor"
    assert len(bank.requested) == 2


async def test_closed_port_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with BankClient(f"http://127.0.0.1:{port}", retry_policy=QUICK) as client:
        with pytest.raises(BankUnavailable, match="cannot be reached"):
            await client.list_accounts()


async def test_timeout_is_unavailable(bank: Bank) -> None:
    bank.gate = asyncio.Event()
    async with BankClient(
        bank.url, retry_policy=RetryPolicy(max_tries=2, first_delay_s=0, timeout_s=0.05)
    ) as client:
        with pytest.raises(BankUnavailable, match="Timeout"):
            await client.list_accounts()
    assert bank.count("accounts") == 2


async def test_invalid_response_has_an_error_of_its_own(bank: Bank, client: BankClient) -> None:
    bank.fail_next("accounts", 200)
    with pytest.raises(BankInvalidResponse):
        await client.list_accounts()
    assert bank.count("accounts") == 1


async def test_all_pages_are_read(bank: Bank, client: BankClient) -> None:
    pages = [page async for page in client.iterate_accounts()]
    assert [len(page) for page in pages] == [4, 4, 4]
    assert pages[2][3] == bank.ledger.account_entry(11)
    assert len((await client.list_customers()).body) == 4


def test_delays_double_up_to_a_cap_with_jitter() -> None:
    retry_policy = RetryPolicy(first_delay_s=1, max_delay_s=5)
    for failures, full in ((1, 1), (2, 2), (3, 4), (4, 5), (10_000, 5)):
        drawn = [retry_policy.delay_s(failures) for _ in range(50)]
        assert full / 2 <= min(drawn) < max(drawn) <= full


def test_retry_after_is_seconds_or_a_date_and_anything_else_is_ignored() -> None:
    assert _parse_retry_after("7") == 7
    later = _parse_retry_after(formatdate(4102444800, usegmt=True))
    assert later is not None
    assert later > 1e6
    assert _parse_retry_after(formatdate(0, usegmt=True)) == 0
    assert [_parse_retry_after(text) for text in (None, "", "soon", "-1", "²")] == [None] * 5
