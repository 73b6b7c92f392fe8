"""The bank over HTTP: pages, details, problems, faults."""

from __future__ import annotations

import httpx
import pytest
from tests.support.demo import CLEAR, Bank

from pulseboard.demo.bank.app import step_clock
from pulseboard.demo.bank.cursor import format_cursor
from pulseboard.demo.bank.faults import FaultSettings
from pulseboard.demo.bank.values import ACCOUNTS_PATH, CUSTOMERS_PATH


@pytest.fixture
async def http(bank: Bank):  # type: ignore[no-untyped-def]
    async with httpx.AsyncClient(base_url=bank.url, trust_env=False) as http:
        yield http


async def test_paging_neither_skips_nor_repeats_an_account_while_accounts_open(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = (await http.get(ACCOUNTS_PATH, params={"cursor": cursor} if cursor else {})).json()
        found += [entry["accountId"] for entry in page["body"]]
        cursor = page["header"]["nextCursor"]
        if cursor is None:
            break
        bank.step += 2  # two accounts open between two pages
    assert bank.step > 0
    assert found == [
        bank.ledger.account_entry(index).account_id for index in range(bank.ledger.account_count())
    ]


async def test_pages_have_the_requested_size_and_the_last_has_no_cursor(
    http: httpx.AsyncClient,
) -> None:
    assert [len(page) for page in await read_pages(http, limit=5)] == [5, 5, 2]
    assert [len(page) for page in await read_pages(http)] == [4, 4, 4]


async def read_pages(http: httpx.AsyncClient, **params: int | str) -> list[list[object]]:
    pages = []
    while True:
        page = (await http.get(ACCOUNTS_PATH, params=params)).json()
        pages.append(page["body"])
        if page["header"]["nextCursor"] is None:
            return pages
        params["cursor"] = page["header"]["nextCursor"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "AAAA",
        "not base64!",
        "é",
        "A" * 5000,
        format_cursor(8, "accounts", 4),
        format_cursor(7, "customers", 4),
    ],
    ids=["empty", "short", "garbage", "unicode", "long", "another-bank", "another-list"],
)
async def test_cursor_that_the_bank_did_not_issue_is_a_bad_request(
    http: httpx.AsyncClient, cursor: str
) -> None:
    response = await http.get(ACCOUNTS_PATH, params={"cursor": cursor})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "bad-cursor"


@pytest.mark.parametrize("limit", ["0", "-1", "201", "many"])
async def test_page_size_out_of_bounds_is_a_bad_request(
    http: httpx.AsyncClient, limit: str
) -> None:
    response = await http.get(ACCOUNTS_PATH, params={"limit": limit})
    assert (response.status_code, response.json()["status"]) == (400, 400)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        f"{ACCOUNTS_PATH}/1000000000",
        f"{ACCOUNTS_PATH}/x/balances",
        f"{CUSTOMERS_PATH}/000000",
        "/nothing",
    ],
)
async def test_unknown_paths_are_not_found(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 404


async def test_detail_and_balance_of_a_listed_account_agree(http: httpx.AsyncClient) -> None:
    entry = (await http.get(ACCOUNTS_PATH)).json()["body"][2]
    path = f"{ACCOUNTS_PATH}/{entry['accountId']}"
    detail, balance = (await http.get(path)).json(), (await http.get(f"{path}/balances")).json()
    customer = (await http.get(f"{CUSTOMERS_PATH}/{entry['customerId']}")).json()
    assert detail["customerId"] == customer["customerId"] == entry["customerId"]
    assert detail["title"].startswith(customer["name"])
    assert balance["currency"] == detail["currency"]
    assert isinstance(balance["bookedMinor"], int)


async def test_throttling_sends_retry_after_and_excludes_health(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    bank.faults.settings = FaultSettings(0, 0, throttle_rate=1, retry_after_s=3)
    response = await http.get(ACCOUNTS_PATH)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.json()["code"] == "throttled"
    assert (await http.get("/health")).json() == {"status": "ok", "step": 0, "accounts": 12}


async def test_error_rate_is_about_the_configured_one(bank: Bank, http: httpx.AsyncClient) -> None:
    bank.faults.settings = FaultSettings(0, 0, error_rate=0.5)
    codes = [(await http.get(ACCOUNTS_PATH)).status_code for _ in range(100)]
    assert 30 <= sum(code >= 500 for code in codes) <= 70
    assert set(codes) == {200, 500, 502, 503}


async def test_each_client_has_a_limit_of_its_own(bank: Bank, http: httpx.AsyncClient) -> None:
    bank.faults.settings = FaultSettings(0, 0, client_limit=0.01)

    async def request(name: str) -> httpx.Response:
        return await http.get(ACCOUNTS_PATH, headers={"x-client-id": name})

    assert (await request("one")).status_code == 200
    limited = await request("one")
    assert (limited.status_code, limited.json()["code"]) == (429, "client-limit")
    assert 90 <= int(limited.headers["retry-after"]) <= 100
    assert (await request("two")).status_code == 200


async def test_table_of_clients_stays_bounded(bank: Bank, http: httpx.AsyncClient) -> None:
    bank.faults.settings = FaultSettings(0, 0, client_limit=1)
    for number in range(1100):
        bank.faults._check_limit(str(number))
    assert len(bank.faults._buckets) == 1024


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_ms": -1},
        {"throttle_rate": 1.1},
        {"error_rate": -0.1},
        {"error_rate": float("nan")},
        {"throttle_rate": 0.6, "error_rate": 0.6},
        {"retry_after_s": -1},
        {"client_limit": 0},
        {"client_limit": float("inf")},
    ],
)
def test_invalid_fault_settings_are_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"latency|rate|retry|limit"):
        FaultSettings(**wrong)  # type: ignore[arg-type]
    assert CLEAR.error_rate == 0


def test_restarted_bank_continues_at_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_010.0)
    assert step_clock(1_000_000.0, 2.0)() == 5
    assert step_clock(1_000_099.0, 2.0)() == 0
