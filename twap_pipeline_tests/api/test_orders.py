"""The routes on orders of ``/api/v2``: exact bodies, filters, sort keys and pagination."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from twap_pipeline_tests.api.serving import OTHER, Tables, encode_cursor, ended_order, get_json, list_all, listed_ids
from twap_pipeline_tests.factories import WALLET, event


def executed_order(
    twap_id: int, notional: str, minute: int = 30, *, side: str = "B", **fields: Any
) -> list[dict[str, object]]:
    first, last = ended_order(twap_id, minute, **fields)
    return [{**first, "state_side": side}, {**last, "state_side": side, "state_executedNtl": notional}]


def test_orders_page_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", executed_order(1, "0.03612"))

    page = get_json(client, "/orders")

    (order,) = page["orders"]
    assert list(page) == ["orders", "next_cursor"]
    assert order == {
        "twap_id": "1",
        "wallet": WALLET,
        "asset": "HYPE",
        "symbol": "HYPE",
        "market": "perp",
        "side": "B",
        "status": "finished",
        "status_error": None,
        "size_requested": "10",
        "size_executed": "10",
        "notional_executed": "0.03612",
        "average_price": "0.003612",
        "is_underfilled": False,
        "started_at": "2025-08-20T12:00:00.000000Z",
        "ended_at": "2025-08-20T12:30:00.123456Z",
        "last_status_at": "2025-08-20T12:30:00.123456Z",
        "duration_minutes": 30,
        "reduce_only": False,
        "randomize": True,
        "event_count": 2,
        "first_object_key": "a",
        "last_object_key": "a",
    }


def test_average_price_has_ten_significant_digits(client: httpx2.Client, tables: Tables) -> None:
    """Size 10: the price is a tenth of the notional."""
    prices = {
        "0.0000000123456789012345": "0.00000000123456789",
        "12345678901234567890": "1234567890000000000",
        "30": "3",
        "0": "0",
        "1": "0.1",
    }
    rows = [row for n, notional in enumerate(prices, 1) for row in executed_order(n, notional, asset=f"A{n}")]
    tables.load("a", rows)

    orders = get_json(client, "/orders", wallet=WALLET)["orders"][::-1]
    events = [get_json(client, f"/orders/{order['twap_id']}")["events"][-1] for order in orders]
    totals = sorted(get_json(client, f"/wallets/{WALLET}/summary")["by_asset"], key=lambda total: str(total["asset"]))

    for items in (orders, events, totals):
        assert [item["average_price"] for item in items] == [*prices.values()]


def test_order_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1, asset="@107"), event(1, asset="@107", status='{"error":"No margin."}', minute=1)])

    body = get_json(client, "/orders/1")

    assert list(body) == ["twap_id", "orders", "events", "next_cursor"]
    assert body["next_cursor"] is None
    (order,) = body["orders"]
    assert (order["status"], order["status_error"], order["market"]) == ("error", "No margin.", "spot")
    first, last = body["events"]
    raw = last.pop("raw")
    assert last == {
        "twap_id": "1",
        "wallet": WALLET,
        "ts": "2025-08-20T12:01:00.123456Z",
        "asset": "@107",
        "symbol": "HYPE/USDC",
        "market": "spot",
        "side": "B",
        "status": "error",
        "status_error": "No margin.",
        "size_requested": "10",
        "size_executed": "0.0",
        "notional_executed": "0.0",
        "average_price": None,
        "started_at": "2025-08-20T12:00:00.000000Z",
        "duration_minutes": 30,
        "reduce_only": False,
        "randomize": True,
        "object_key": "a",
    }
    assert raw["status"] == '{"error":"No margin."}'
    assert first["status"] == "activated"
    assert client.get("/api/v2/orders/2").status_code == 404


def test_order_without_refresh_has_events_only(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1)], refresh=False)

    body = get_json(client, "/orders/1")

    assert (body["orders"], len(body["events"])) == ([], 1)


@pytest.mark.fault("V3")
def test_order_decimals_and_raw_are_exact(client: httpx2.Client, tables: Tables) -> None:
    sixty_digits = "0." + "1234567890" * 6
    row = {**event(1), "state_sz": sixty_digits, "state_executedSz": "0.0000000000000000000000000000010", "extra": 0.1}
    tables.load("a", [{**row, "state_executedNtl": "123456789012345678901234567890.10"}])

    response = client.get("/api/v2/orders/1")

    for item in (response.json()["events"][0], response.json()["orders"][0]):
        assert item["size_requested"] == sixty_digits
        assert item["size_executed"] == "0.0000000000000000000000000000010"
        assert item["notional_executed"] == "123456789012345678901234567890.10"
    with tables.engine.connect() as connection:
        stored = connection.execute(text("SELECT raw_payload::text FROM twap_status")).scalar_one()
    assert stored in response.text


@pytest.fixture(scope="module")
def varied(shared_tables: Tables, shared_client: httpx2.Client) -> httpx2.Client:
    """Orders 1 to 5 of two wallets: started at noon, ended at 12:10, 12:50, never, 12:30 and 12:40."""
    rows = [
        *executed_order(1, "100", 10, asset="BTC"),
        *executed_order(2, "9.5", 50, asset="@107", side="A"),
        event(3, asset="PURR/USDC", wallet=OTHER),
        *executed_order(4, "2000", 30, asset="BTC", wallet=OTHER),
        *executed_order(5, "300", 40, asset="xyz:NVDA"),
    ]
    shared_tables.load("a", rows)
    return shared_client


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "54321"),
        ({"wallet": WALLET}, "521"),
        ({"wallet": WALLET.upper()}, "521"),
        ({"wallet": [OTHER, WALLET, OTHER]}, "54321"),
        ({"wallet": "0x" + "0" * 40}, ""),
        ({"asset": "BTC"}, "41"),
        ({"asset": "BTC", "wallet": WALLET}, "1"),
        ({"side": "A"}, "2"),
        ({"status": "activated"}, "3"),
        ({"market": "spot"}, "32"),
        ({"market": "perp"}, "541"),
        ({"market": "perp", "wallet": [OTHER]}, "4"),
        ({"min_notional": "100"}, "541"),
        ({"min_notional": "100.01"}, "54"),
        ({"start": "2025-08-20", "end": "2025-08-21"}, "54321"),
        ({"start": "2025-08-20T12:00:00.000001Z", "end": "2025-08-21"}, ""),
        ({"start": "2025-08-19", "end": "2025-08-20T12:00:00Z"}, ""),
        ({"time_field": "ended", "start": "2025-08-20T12:30:00Z", "end": "2025-08-20T12:41:00Z"}, "54"),
        ({"time_field": "ended", "end": "2025-08-20T12:41:00Z", "wallet": [WALLET]}, "51"),
        ({"time_field": "updated", "start": "2025-08-20T12:00:00Z", "end": "2025-08-20T12:11:00Z"}, "31"),
        ({"sort": "ended"}, "2541"),
        ({"sort": "ended", "wallet": [WALLET]}, "251"),
        ({"sort": "ended", "asset": "BTC"}, "41"),
        ({"sort": "ended", "time_field": "updated", "start": "2025-08-20T12:31:00Z"}, "25"),
        ({"sort": "ended", "start": "2025-08-20", "end": "2025-08-21"}, "2541"),
        ({"sort": "notional", "start": "2025-08-20", "end": "2025-08-21"}, "45123"),
        ({"sort": "notional", "start": "2025-08-20", "end": "2025-08-21", "wallet": WALLET}, "512"),
    ],
    ids=str,
)
def test_orders_filter_and_sort_select_orders(varied: httpx2.Client, filters: dict[str, Any], expected: str) -> None:
    """One page and pages of one order contain the same orders in the same order."""
    assert "".join(listed_ids(varied, **filters)) == expected
    assert "".join(item["twap_id"] for item in list_all(varied, "/orders", limit=1, **filters)) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2025-08-20"},
        {"end": "2025-08-20"},
        {"start": "2025-01-01", "end": "2025-03-01"},
        {"sort": "notional"},
        {"sort": "notional", "wallet": WALLET},
        {"sort": "ended", "start": "2025-08-20"},
    ],
    ids=str,
)
def test_orders_unbounded_range_is_400(idle_client: httpx2.Client, query: dict[str, str]) -> None:
    refused = idle_client.get("/api/v2/orders", params=query)

    assert (refused.status_code, refused.json()["title"]) == (400, "Range too long")
    assert "31 days" in refused.json()["detail"]


def test_orders_more_than_fifty_wallets_is_422(idle_client: httpx2.Client) -> None:
    wallets = [f"0x{n:040x}" for n in range(51)]

    assert idle_client.get("/api/v2/orders", params={"wallet": wallets[:50]}).json()["orders"] == []
    assert idle_client.get("/api/v2/orders", params={"wallet": wallets}).status_code == 422
    assert idle_client.get("/api/v2/orders", params={"wallet": ["0x1", wallets[0]]}).status_code == 422


def test_orders_are_sorted_by_numeric_id(client: httpx2.Client, tables: Tables) -> None:
    """As text, 9 is after 10, and 99 after 100."""
    tables.load("a", [event(twap_id) for twap_id in (9, 10, 99, 100, 2**62, 2**62 + 1)])

    assert listed_ids(client) == [str(2**62 + 1), str(2**62), "100", "99", "10", "9"]
    assert [item["twap_id"] for item in list_all(client, "/orders", limit=1)] == listed_ids(client)


@pytest.mark.fault("A9")
def test_large_raw_is_replaced_by_the_query_that_reads_it(client: httpx2.Client, tables: Tables) -> None:
    """The stored size of a repeated text is below the limit, because PostgreSQL compresses it."""
    tables.load("a", [event(1), event(2)])
    large = {
        "1": "SELECT json_build_object('x', string_agg(md5(random()::text), '')) FROM generate_series(1, 40000)",
        "2": "SELECT json_build_object('x', repeat('a', 1100000))",
    }
    with tables.engine.begin() as connection:
        for twap_id, content in large.items():
            connection.execute(text(f"UPDATE twap_status SET raw_payload = ({content}) WHERE twap_id = '{twap_id}'"))

    response = client.get("/api/v2/events")
    one = get_json(client, "/orders/1")["events"]

    assert len(response.content) < 4_000
    for item in (*response.json()["events"], *one):
        omitted = item["raw"]["raw_payload_omitted"]
        assert omitted["maximum_bytes"] == 1_000_000
        with tables.engine.connect() as connection:
            (stored,) = connection.execute(text(omitted["sql"].replace(":", r"\:"))).one()
        assert len(str(stored)) > 1_000_000


@pytest.mark.fault("A9")
def test_order_history_is_paged(client: httpx2.Client, tables: Tables) -> None:
    other = "0x" + "ff" * 20
    rows = [event(7, minute=minute, wallet=wallet) for wallet in (WALLET, other) for minute in range(25)]
    tables.load("a", rows)

    items: list[tuple[str, str]] = []
    cursor = None
    while not items or cursor:
        page = get_json(client, "/orders/7", limit=10, **({"cursor": cursor} if cursor else {}))
        assert (len(page["orders"]), len(page["events"])) == (2, 10)
        items += [(item["wallet"], item["ts"]) for item in page["events"]]
        cursor = page["next_cursor"]

    assert items == sorted(set(items))
    assert len(items) == 50
    beyond = encode_cursor({"wallet": "x", "ts": "2025-08-20T00:00:00Z"})
    assert get_json(client, "/orders/7", cursor=beyond)["events"] == []


def test_events_follow_the_feed_with_one_cursor(client: httpx2.Client, tables: Tables) -> None:
    assert get_json(client, "/events") == {"events": [], "next_cursor": None, "has_more": False}
    tables.load("a", [event(2, minute=5), *ended_order(1, minute=9), event(3, minute=5, wallet=OTHER)])

    first = get_json(client, "/events", limit=3)
    last = get_json(client, "/events", limit=3, cursor=first["next_cursor"])
    waiting = get_json(client, "/events", limit=3, cursor=last["next_cursor"])
    tables.load("b", [event(4, minute=10)])
    later = get_json(client, "/events", limit=3, cursor=waiting["next_cursor"])

    assert [(item["twap_id"], item["status"]) for item in (*first["events"], *last["events"])] == [
        ("1", "activated"), ("2", "activated"), ("3", "activated"), ("1", "finished"),
    ]  # fmt: skip
    assert [page["has_more"] for page in (first, last, waiting, later)] == [True, False, False, False]
    assert (waiting["events"], waiting["next_cursor"]) == ([], last["next_cursor"])
    assert [item["twap_id"] for item in later["events"]] == ["4"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"wallet": OTHER.upper()}, "344"),
        ({"asset": "BTC"}, "1414"),
        ({"status": "finished"}, "1452"),
        ({"side": "A", "status": "activated"}, "2"),
        ({"start": "2025-08-20T12:30:00.123456Z", "end": "2025-08-20T12:50:00.123456Z"}, "45"),
    ],
    ids=str,
)
def test_events_filters_select_events(varied: httpx2.Client, filters: dict[str, Any], expected: str) -> None:
    assert "".join(item["twap_id"] for item in list_all(varied, "/events", limit=1, **filters)) == expected
