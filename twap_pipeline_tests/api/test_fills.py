"""The routes on fills of ``/api/v2``: slices, sums of orders and wallets, reconciliation, coverage."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from twap_pipeline_tests.api.serving import Tables, ended_order, get_json
from twap_pipeline_tests.factories import DAY, NOON, WALLET, event
from twap_pipeline_tests.fill_rows import fill, insert_fills, log_fills

RANGE = {"start": "2025-08-20", "end": "2025-08-21"}
OTHER = "0x" + "cd" * 20


def finished(twap_id: int, **fields: Any) -> list[dict[str, object]]:
    """Return the events of an order that executed 10 HYPE for 420.5 USD."""
    first, last = ended_order(twap_id, **fields)
    return [first, {**last, "state_executedNtl": "420.5"}]


def all_pages(client: httpx2.Client, path: str, name: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the items of all pages of two."""
    items, cursor = [], ""
    while cursor is not None:
        page = get_json(client, path, limit=2, **parameters, **({"cursor": cursor} if cursor else {}))
        items += page[name]
        cursor = page["next_cursor"]
    return items


def test_fill_has_exactly_the_documented_keys(client: httpx2.Client, tables: Tables) -> None:
    insert_fills(tables.engine, fill(7, asset="@107", price="0.0000000001", size="12345678901234567890", fee=None))

    (item,) = get_json(client, "/orders/1/fills")["fills"]

    assert item == {
        "trade_id": "7",
        "twap_id": "1",
        "wallet": WALLET,
        "ts": "2025-08-20T12:01:00.000000Z",
        "asset": "@107",
        "symbol": "HYPE/USDC",
        "market": "spot",
        "dex": None,
        "side": "buy",
        "direction": "Open Long",
        "price": "0.0000000001",
        "size": "12345678901234567890",
        "notional": "1234567890.1234567890",
        "realized_pnl": "0",
        "start_position": None,
        "fee": None,
        "fee_token": "USDC",
        "builder_fee": None,
        "deployer_fee": None,
        "priority_fee": None,
        "order_id": None,
        "is_taker": True,
        "object_key": f"date={DAY}/fills.parquet",
    }


def test_fills_pages_have_each_fill_once(client: httpx2.Client, tables: Tables) -> None:
    """Several fills have one time: the trade ID decides."""
    insert_fills(tables.engine, *(fill(n, minute=n // 3) for n in range(9)), fill(99, 2))

    items = all_pages(client, "/orders/1/fills", "fills")

    assert [item["trade_id"] for item in items] == [str(n) for n in range(9)]


def test_fills_of_an_order_without_fills_are_empty(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [event(1)], refresh=False)

    assert get_json(client, "/orders/1/fills") == {"fills": [], "next_cursor": None}
    assert client.get("/api/v2/orders/2/fills").json()["title"] == "Unknown order"


def test_order_that_only_fills_contain_is_found(client: httpx2.Client, tables: Tables) -> None:
    insert_fills(tables.engine, fill(1))

    body = get_json(client, "/orders/1")

    assert (body["orders"], body["events"]) == ([], [])


def test_order_has_the_sums_of_its_fills(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", finished(1))
    insert_fills(tables.engine, fill(1, fee="0.1", realized_pnl="-3"), fill(2, fee="0.000001", minute=2))

    (order,) = get_json(client, "/orders/1")["orders"]
    (listed,) = get_json(client, "/orders", include="fills")["orders"]

    assert listed == order
    assert order["fills"] == {
        "fill_count": 2,
        "size_filled": "10",
        "notional_filled": "420.50",
        "average_price": "42.05",
        "first_fill_at": "2025-08-20T12:01:00.000000Z",
        "last_fill_at": "2025-08-20T12:02:00.000000Z",
        "realized_pnl": "-3",
        "fee": "0.100001",
        "fee_token": "USDC",
        "reconciliation": "reconciled",
    }
    assert "fills" not in get_json(client, "/orders")["orders"][0]


def test_order_without_any_fills_loaded_has_null(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", finished(1))

    (order,) = get_json(client, "/orders/1")["orders"]
    summary = get_json(client, f"/wallets/{WALLET}/summary")
    coverage = get_json(client, "/coverage")

    assert order["fills"] is None
    assert (summary["fills_by_asset"], summary["unavailable_metrics"]) == (None, ["fees", "closed profit", "slices"])
    assert coverage["days_without_fills"] is None
    assert get_json(client, "/reconciliation", **RANGE)["has_fills"] is False


def test_order_whose_fills_are_missing_has_zero(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", [*finished(1), *finished(2)])
    insert_fills(tables.engine, fill(1), fill(2))

    (order,) = get_json(client, "/orders/2")["orders"]

    assert (order["fills"]["fill_count"], order["fills"]["fee"]) == (0, None)
    assert order["fills"]["reconciliation"] == "missing_fills"


def test_summary_has_fills_of_the_range_by_asset_and_token(client: httpx2.Client, tables: Tables) -> None:
    """An order across the end of the range: each fill counts at its own time."""
    tables.load("a", finished(1))
    insert_fills(
        tables.engine,
        *(fill(1), fill(2, fee="0.000001", realized_pnl="-1.25"), fill(3, minute=1440), fill(4, wallet=OTHER)),
        fill(5, 9, asset="@107", fee="0.01", fee_token="HYPE", size="1"),
        fill(6, 9, asset="@107", size="1", realized_pnl=None),
    )

    body = get_json(client, f"/wallets/{WALLET}/summary", **RANGE)

    assert body["unavailable_metrics"] == []
    assert body["fills_by_asset"][0] == {
        "asset": "HYPE",
        "symbol": "HYPE",
        "fill_count": 2,
        "notional_filled": "420.50",
        "realized_pnl": "-1.25",
        "fee": "0.094613",
        "fee_token": "USDC",
    }
    others = [(row["symbol"], row["fee_token"], row["fee"], row["realized_pnl"]) for row in body["fills_by_asset"][1:]]
    assert others == [("HYPE/USDC", "HYPE", "0.01", "0"), ("HYPE/USDC", "USDC", "0.094612", None)]


@pytest.fixture(scope="module")
def reconciled(shared_tables: Tables, shared_client: httpx2.Client) -> httpx2.Client:
    """Three reconciled orders, two with missing fills, one running, and fills of two unknown orders."""
    ended = [row for n in range(1, 6) for row in finished(n, minute=10 + n)]
    shared_tables.load("a", [*ended, event(6)])
    fills = [fill(10 * n + number, n) for n in (1, 2, 3) for number in (1, 2)]
    strangers = [fill(100, 70), fill(101, 71), fill(102, 71), fill(103, 72, ts=NOON + timedelta(days=1))]
    insert_fills(shared_tables.engine, *fills, fill(41, 4), *strangers)
    return shared_client


def test_reconciliation_counts_every_state(reconciled: httpx2.Client) -> None:
    body = get_json(reconciled, "/reconciliation", **RANGE)

    assert (body["start"], body["has_fills"]) == ("2025-08-20T00:00:00.000000Z", True)
    assert {name: count for name, count in body["states"].items() if count} == {
        "reconciled": 3,
        "missing_fills": 2,
        "running": 1,
        "no_order": 2,
    }
    assert len(body["states"]) == 8


@pytest.mark.parametrize(
    ("state", "ids"),
    [
        ("reconciled", ["1", "2", "3"]),
        ("missing_fills", ["4", "5"]),
        ("no_order", ["70", "71"]),
        ("surplus_fills", []),
    ],
)
def test_reconciliation_lists_the_orders_of_a_state(reconciled: httpx2.Client, state: str, ids: list[str]) -> None:
    items = all_pages(reconciled, "/reconciliation/orders", "orders", state=state, **RANGE)

    assert [item["twap_id"] for item in items] == ids
    assert {item["state"] for item in items} <= {state}


def test_reconciled_order_has_both_totals(reconciled: httpx2.Client) -> None:
    (item, _) = get_json(reconciled, "/reconciliation/orders", state="missing_fills", **RANGE)["orders"]

    assert item == {
        "twap_id": "4",
        "wallet": WALLET,
        "asset": "HYPE",
        "symbol": "HYPE",
        "state": "missing_fills",
        "at": "2025-08-20T12:14:00.123456Z",
        "ended_at": "2025-08-20T12:14:00.123456Z",
        "fill_count": 1,
        "size_executed": "10",
        "size_filled": "5",
        "notional_executed": "420.5",
        "notional_filled": "210.25",
    }


@pytest.mark.parametrize("path", ["/reconciliation", "/reconciliation/orders?state=no_order"])
def test_reconciliation_range_is_bounded(idle_client: httpx2.Client, path: str) -> None:
    parameters = dict(part.split("=") for part in path.partition("?")[2].split("&") if part)
    bounds = {"start": "2025-08-01", "end": "2025-09-02"}

    response = idle_client.get(f"/api/v2{path.partition('?')[0]}", params={**parameters, **bounds})

    assert (response.status_code, response.json()["title"]) == (400, "Range too long")


def test_coverage_separates_statuses_and_fills(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", finished(1))
    before = get_json(client, "/coverage")
    until = get_json(client, "/active")["data_until"]
    log_fills(tables.engine, DAY + timedelta(days=30))
    assert get_json(client, "/coverage")["days_without_fills"] == [str(DAY)]
    log_fills(tables.engine, DAY)
    log_fills(tables.engine, DAY, key="other.parquet", error_text="broken")

    body = get_json(client, "/coverage")

    day = body["days"][-1]
    assert (day["day"], day["fill_objects"], day["fill_objects_failed"], day["fill_rows"]) == (str(DAY), 1, 1, 4)
    assert body["days_without_fills"] == []
    names = (
        "objects",
        "failed",
        "rows_read",
        "rows_inserted",
        "last_object_at",
        "last_event_at",
        "missing_days",
        "end",
    )
    assert {name: body[name] for name in names} == {name: before[name] for name in names}
    assert get_json(client, "/active")["data_until"] == until is not None
    assert client.get("/healthz").json()["last_ingested_object"] == "a"
