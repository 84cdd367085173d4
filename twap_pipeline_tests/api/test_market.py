"""The routes on active orders, pressure, wallet totals, daily statistics and coverage, compared with known sums."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from twap_pipeline_tests.api.serving import Tables, get_json
from twap_pipeline_tests.factories import DAY, WALLET, event
from twap_pipeline_tests.fill_rows import fill, insert_fills

OTHER = "0x" + "ab" * 20


def insert_orders(tables: Tables, *orders: dict[str, object]) -> None:
    """Insert orders. ``started`` and ``ended`` are minutes relative to now."""
    defaults = {
        "wallet": WALLET, "asset": "BTC", "side": "B", "size": "60", "status": "activated", "minutes": 60,
        "started": -30, "ended": None, "executed": None, "notional": None,
    }  # fmt: skip
    statement = text(
        "INSERT INTO twap_orders (twap_id, wallet, asset, side, size_requested, size_executed, notional_executed,"
        " status, last_status_at, started_at, ended_at, duration_minutes, event_count, first_event_at,"
        " first_object_key, last_object_key)"
        " SELECT :id, :wallet, :asset, :side, CAST(:size AS numeric), CAST(:executed AS numeric),"
        " CAST(:notional AS numeric), :status, at, at, now() + CAST(:ended AS integer) * interval '1 minute', :minutes,"
        " 1, at, 'o', 'o' FROM (SELECT now() + :started * interval '1 minute' AS at) AS times"
    )
    with tables.engine.begin() as connection:
        connection.execute(statement, [{"id": str(n), **defaults, **order} for n, order in enumerate(orders, 1)])


def seconds_until(timestamp: str) -> float:
    return (datetime.fromisoformat(timestamp) - datetime.now(UTC)).total_seconds()


def test_active_orders_have_estimates_and_exclude_stale_orders(client: httpx2.Client, tables: Tables) -> None:
    insert_orders(
        tables,
        {},
        {"started": -100},
        {"started": -70},
        {"status": "waitingForTrigger", "started": -9999},
        {"ended": -1, "status": "finished"},
    )

    body = get_json(client, "/active")

    assert (body["estimate_method"], body["active_count"], body["stale_count"]) == ("linear", 3, 1)
    within_grace, half, waiting = body["active"]
    assert (within_grace["twap_id"], within_grace["estimate_remaining_size"]) == ("3", "0.00000000")
    assert half["twap_id"] == "1"
    assert Decimal("29.9") < Decimal(half["estimate_remaining_size"]) <= 30
    assert 1790 < seconds_until(half["expected_end"]) <= 1800
    assert (waiting["twap_id"], waiting["expected_end"]) == ("4", None)
    assert Decimal(waiting["estimate_remaining_size"]) == 60
    assert [order["twap_id"] for order in body["stale"]] == ["2"]


def test_active_orders_filters_and_limit(client: httpx2.Client, tables: Tables) -> None:
    insert_orders(tables, {}, {"wallet": OTHER, "started": -20}, {"asset": "ETH", "started": -10})

    def ids(**parameters: object) -> list[str]:
        return [order["twap_id"] for order in get_json(client, "/active", **parameters)["active"]]

    assert ids() == ["1", "2", "3"]
    assert ids(wallet=OTHER.upper().replace("0X", "0x")) == ["2"]
    assert ids(asset="ETH") == ["3"]
    assert ids(limit=2) == ["1", "2"]
    assert get_json(client, "/active", limit=1)["active_count"] == 3


def test_pressure_nets_remaining_volume_per_horizon(client: httpx2.Client, tables: Tables) -> None:
    insert_orders(
        tables,
        {},
        {"side": "A", "size": "120", "minutes": 120, "started": -60},
        {"started": -100},
        {"status": "waitingForTrigger"},
        {"ended": -5, "executed": "2", "notional": "2000", "status": "finished"},
        {"ended": -9, "executed": "2", "notional": "9000", "status": "finished", "started": -40},
    )

    (asset,) = get_json(client, "/pressure", horizon=[10, 600])["assets"]

    assert (asset["asset"], asset["order_count"]) == ("BTC", 2)
    assert Decimal(asset["estimate_price"]) == 1000
    short, long = asset["horizons"]
    assert (short["horizon_minutes"], long["horizon_minutes"]) == (10, 600)
    assert Decimal(short["estimate_buy_size"]) == Decimal(short["estimate_sell_size"]) == 10
    assert Decimal(short["estimate_net_notional"]) == 0
    assert float(long["estimate_net_size"]) == pytest.approx(-30, abs=0.2)
    assert float(long["estimate_net_notional"]) == pytest.approx(-30_000, abs=200)


def test_pressure_without_price_has_null_notional(client: httpx2.Client, tables: Tables) -> None:
    insert_orders(tables, {})

    (asset,) = get_json(client, "/pressure")["assets"]

    assert asset["estimate_price"] is None
    assert {horizon["estimate_net_notional"] for horizon in asset["horizons"]} == {None}
    assert [horizon["horizon_minutes"] for horizon in asset["horizons"]] == [5, 15, 60, 240, 1440]


def test_pressure_history_counts_running_orders_by_hour(client: httpx2.Client, tables: Tables) -> None:
    """Order 1: 11:30 to 13:30, ended early at 13:10. Order 2: 12:00 to 12:30. Order 3 waits for its trigger."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    now = datetime.now(UTC)

    def minutes(hour: int, minute: int) -> int:
        return round((day.replace(hour=hour, minute=minute) - now).total_seconds() / 60)

    insert_orders(
        tables,
        {"size": "120", "minutes": 120, "started": minutes(11, 30), "ended": minutes(13, 10), "status": "terminated",
         "executed": "10", "notional": "500"},
        {"size": "30", "side": "A", "minutes": 30, "started": minutes(12, 0)},
        {"status": "waitingForTrigger", "started": minutes(11, 0)},
    )  # fmt: skip
    with tables.engine.begin() as connection:  # the offsets above are relative to now()
        connection.execute(
            text(
                "UPDATE twap_orders SET started_at = date_trunc('minute', started_at + interval '30 s'),"
                " first_event_at = date_trunc('minute', first_event_at + interval '30 s'),"
                " ended_at = date_trunc('minute', ended_at + interval '30 s')"
            )
        )

    start, end = day.replace(hour=11, minute=20), day.replace(hour=13, minute=30)
    history = get_json(client, "/pressure/history", asset="BTC", start=start.isoformat(), end=end.isoformat())

    assert (history["estimate_method"], history["horizon_minutes"], len(history["hours"])) == ("linear", 60, 3)
    assert [hour["hour"][11:16] for hour in history["hours"]] == ["11:00", "12:00", "13:00"]
    assert [hour["order_count"] for hour in history["hours"]] == [0, 2, 1]
    assert [Decimal(hour["estimate_buy_size"]) for hour in history["hours"]] == [0, 60, 30]
    assert [Decimal(hour["estimate_sell_size"]) for hour in history["hours"]] == [0, 30, 0]
    assert [Decimal(hour["estimate_net_notional"]) for hour in history["hours"]] == [0, 1500, 1500]


def test_leaderboard_ranks_wallets_by_notional(client: httpx2.Client, tables: Tables) -> None:
    rows = [
        *executed_order(1, "1", "10", asset="BTC"),
        *({**row, "state_side": "A"} for row in executed_order(2, "1", "5.5", asset="@107")),
        *executed_order(3, "2", "12", asset="BTC", wallet=OTHER),
        *executed_order(4, "0", "0", wallet="0x" + "ef" * 20),
    ]
    tables.load("a", rows)

    def ranking(**parameters: object) -> list[tuple[str, str]]:
        query = {"start": "2025-08-20", "end": "2025-08-21", **parameters}
        return [
            (item["wallet"], item["notional_executed"]) for item in get_json(client, "/leaderboard", **query)["wallets"]
        ]

    assert ranking() == [(WALLET, "15.5"), (OTHER, "12")]
    assert ranking(limit=1) == [(WALLET, "15.5")]
    assert ranking(asset="BTC") == ranking(market="perp") == [(OTHER, "12"), (WALLET, "10")]
    assert ranking(market="spot") == [(WALLET, "5.5")]
    assert ranking(end="2025-08-20T12:30:00.123456Z") == []
    first = get_json(client, "/leaderboard", start="2025-08-20", end="2025-08-21")["wallets"][0]
    assert first == {
        "wallet": WALLET,
        "order_count": 2,
        "asset_count": 2,
        "notional_executed": "15.5",
        "notional_bought": "10",
        "notional_sold": "5.5",
        "fills": None,
    }


def test_leaderboard_with_fills_has_sums_by_token(client: httpx2.Client, tables: Tables) -> None:
    """A fill counts at its own time, with the filters of the orders; a missing fee makes the sum null."""
    rows = [*executed_order(1, "1", "10"), *executed_order(2, "1", "8", asset="@107")]
    tables.load("a", [*rows, *executed_order(3, "1", "9", wallet=OTHER)])

    def fills_of_wallets(**parameters: object) -> list[Any]:
        query = {"start": "2025-08-20", "end": "2025-08-21", "include": "fills", **parameters}
        return [item["fills"] for item in get_json(client, "/leaderboard", **query)["wallets"]]

    assert fills_of_wallets() == [None, None]
    spot: dict[str, Any] = {"asset": "@107", "price": "2", "size": "0.5", "realized_pnl": None}
    insert_fills(
        tables.engine,
        *(fill(1, fee="0.1", realized_pnl="-3.5"), fill(2, fee="0.000001", realized_pnl="1"), fill(3, minute=720)),
        *(fill(4, 2, fee="0.01", fee_token="HYPE", **spot), fill(5, 2, fee=None, fee_token="PURR", **spot)),
        fill(6, 3, wallet="0x" + "ef" * 20),
    )

    usdc = {
        "fee_token": "USDC",
        "fill_count": 2,
        "notional_filled": "420.50",
        "fee": "0.100001",
        "realized_pnl": "-2.5",
    }
    hype, purr = (
        {"fee_token": token, "fill_count": 1, "notional_filled": "1.0", "fee": fee, "realized_pnl": None}
        for token, fee in (("HYPE", "0.01"), ("PURR", None))
    )
    assert fills_of_wallets() == [[usdc, hype, purr], []]
    assert fills_of_wallets(market="spot") == [[hype, purr]]
    assert fills_of_wallets(asset="HYPE") == [[usdc], []]
    assert fills_of_wallets(start="2025-08-20T12:02:00Z") == [[], []]


def executed_order(twap_id: int, size: str, notional: str, **fields: Any) -> list[dict[str, object]]:
    end = event(twap_id, minute=30, executed=size, **{"status": "finished", **fields})
    fields.pop("status", None)
    return [event(twap_id, **fields), {**end, "state_executedNtl": notional}]


def test_wallet_summary_totals_are_exact(client: httpx2.Client, tables: Tables) -> None:
    sizes = [("0.1", "0.3"), ("0.2", "0.0000000000000000000000000000001"), ("10", "12345678901234567890.5")]
    rows: Sequence[dict[str, object]] = [
        row for n, (size, notional) in enumerate(sizes, 1) for row in executed_order(n, size, notional, asset="BTC")
    ]
    tables.load(
        "a", [*rows, *executed_order(8, "0", "0", status="error"), event(9), *executed_order(5, "1", "1", wallet=OTHER)]
    )

    summary = get_json(client, f"/wallets/{WALLET.upper()}/summary")

    btc, hype = summary["by_asset"]
    total = Decimal("12345678901234567890.8000000000000000000000000000001")
    assert (summary["order_count"], Decimal(summary["notional_executed"])) == (5, total)
    assert (btc["asset"], btc["order_count"], btc["finished"], btc["underfilled_order_count"]) == ("BTC", 3, 3, 2)
    assert (Decimal(btc["size_executed"]), Decimal(btc["notional_executed"])) == (Decimal("10.3"), total)
    assert float(btc["average_price"]) == pytest.approx(float(total / Decimal("10.3")))
    assert (hype["order_count"], hype["running"], hype["error"], hype["average_price"]) == (2, 1, 1, None)
    assert summary["by_day"] == [
        {"day": "2025-08-20", "order_count": 5, "notional_executed": summary["notional_executed"]}
    ]
    assert summary["unavailable_metrics"] == ["fees", "closed profit", "slices"]


def test_wallet_summary_days_are_those_of_last_events(client: httpx2.Client, tables: Tables) -> None:
    night = executed_order(1, "1", "2.5")
    night[1]["time"] = "2025-08-21T00:00:00"
    tables.load("a", [*night, *executed_order(2, "1", "1"), event(3)])

    days = get_json(client, f"/wallets/{WALLET}/summary")["by_day"]

    assert [(row["day"], row["order_count"], Decimal(row["notional_executed"])) for row in days] == [
        ("2025-08-20", 2, Decimal(1)),
        ("2025-08-21", 1, Decimal("2.5")),
    ]


def test_wallet_summary_range_applies_to_last_event(client: httpx2.Client, tables: Tables) -> None:
    tables.load("a", executed_order(1, "1", "1"))

    inside = get_json(client, f"/wallets/{WALLET}/summary", start="2025-08-20T12:30:00.123456Z")
    outside = get_json(client, f"/wallets/{WALLET}/summary", end="2025-08-20T12:30:00.123456Z")

    assert (inside["order_count"], outside["order_count"], outside["by_asset"], outside["by_day"]) == (1, 0, [], [])
    assert outside["first_order_at"] is None


def test_daily_stats_pages_equal_the_view(client: httpx2.Client, tables: Tables) -> None:
    rows = [
        row
        for n, asset in enumerate(["BTC", "ETH", "@107", "kBONK"], 1)
        for row in executed_order(n, "1", "2", asset=asset)
    ]
    tables.load("a", [*rows, event(9, asset="BTC")])

    items: list[dict[str, Any]] = []
    parameters = {"start": "2025-08-20", "end": "2025-08-22", "limit": "2"}
    while not items or "cursor" in parameters:
        page = get_json(client, "/stats/daily", **parameters)
        items += page["days"]
        parameters.pop("cursor", None)
        if page["next_cursor"]:
            parameters["cursor"] = page["next_cursor"]

    with tables.engine.connect() as connection:
        view = connection.execute(
            text("SELECT asset, status, order_count, notional_executed FROM twap_daily_stats")
        ).all()
    rows_of_api = [
        (item["asset"], item["status"], item["order_count"], Decimal(item["notional_executed"])) for item in items
    ]
    assert len(rows_of_api) == 5
    assert sorted(rows_of_api) == sorted(tuple(row) for row in view)
    assert get_json(client, "/stats/daily", start="2025-08-20", asset="ETH")["days"][0]["notional_executed"] == "2"
    assert get_json(client, "/stats/daily", start="2025-08-21")["days"] == []


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    "path",
    [
        "/stats/daily",
        "/stats/daily?start=2025-01-01&end=2026-01-01",
        "/stats/daily?start=2025-01-02&end=2025-01-01",
        "/stats/daily?start=2025-01-01T00:00:00Z",
        "/stats/daily?start=2025-01-01&cursor=abc",
        "/pressure?horizon=0",
        "/pressure?horizon=99999999999999999999",
        "/pressure?" + "&".join(["horizon=5"] * 11),
        "/pressure?asset=%00",
        "/active?wallet=0x1",
        "/active?limit=0",
        "/wallets/0x1/summary",
        f"/wallets/{WALLET}/summary?start=2025-02-01&end=2025-01-01",
        "/leaderboard?start=2025-01-01&end=2026-01-03",
        "/leaderboard?start=2025-01-01",
        "/pressure/history?start=2025-01-01&end=2025-01-02",
        "/pressure/history?asset=BTC&start=2025-01-01&end=2025-02-02",
        "/pressure/history?asset=BTC&start=2025-01-02&end=2025-01-01",
        "/coverage?start=2025-02-01&end=2025-01-01",
        "/coverage?start=2000-01-01&end=2099-01-01",
    ],
)
def test_invalid_parameter_is_refused(idle_client: httpx2.Client, path: str) -> None:
    assert idle_client.get(f"/api/v2{path}").status_code in {400, 422}


def test_coverage_shows_gaps_failures_and_pending_refresh(client: httpx2.Client, tables: Tables) -> None:
    tables.load("hourly/2025/08/20/12/a.parquet", [event(1), event(2, wallet="?")])
    tables.load("hourly/2025/08/20/13/b.parquet", [event(3)], refresh=False)
    with tables.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, error_text, failed_attempts, ingested_at,"
                " object_date) VALUES ('bad', '2025-08-23Z', 'no parquet', 3, now(), '2025-08-22'),"
                " ('new', '2025-08-23Z', 'cut', 1, now(), '2025-08-23')"
            )
        )

    coverage = get_json(client, "/coverage")

    assert (coverage["start"], coverage["end"]) == ("2025-08-20", "2025-08-24")
    assert coverage["missing_days"] == ["2025-08-21", "2025-08-22", "2025-08-23"]
    assert (coverage["objects"], coverage["failed"], coverage["parked"]) == (2, 2, 1)
    assert coverage["objects_pending_refresh"] == 1
    assert (coverage["rows_read"], coverage["rows_inserted"], coverage["rows_quarantined"]) == (3, 2, 1)
    assert coverage["last_event_at"] == "2025-08-20T12:00:00.123456Z"
    assert coverage["last_object_at"] == "2025-08-21T12:00:00.000000Z"
    assert [(day["day"], day["objects"], day["parked"]) for day in coverage["days"]] == [
        ("2025-08-20", 2, 0), ("2025-08-21", 0, 0), ("2025-08-22", 0, 1), ("2025-08-23", 0, 0),
    ]  # fmt: skip
    narrowed = get_json(client, "/coverage", start="2025-08-19", end="2025-08-21")
    assert (narrowed["missing_days"], narrowed["failed"]) == (["2025-08-19"], 0)


def test_every_list_is_empty_without_data(idle_client: httpx2.Client) -> None:
    assert get_json(idle_client, "/coverage")["days"] == []
    assert get_json(idle_client, "/active")["active_count"] == 0
    assert get_json(idle_client, "/pressure")["assets"] == []
    assert get_json(idle_client, f"/wallets/{WALLET}/summary")["by_asset"] == []
    assert get_json(idle_client, "/stats/daily", start="2025-08-20")["days"] == []
    assert get_json(idle_client, "/orders", wallet=WALLET) == {"orders": [], "next_cursor": None}
    assert get_json(idle_client, "/leaderboard", start="2025-08-20", end="2025-08-21")["wallets"] == []
    history = get_json(idle_client, "/pressure/history", asset="BTC", start="2025-08-20", end="2025-08-21")
    assert {hour["order_count"] for hour in history["hours"]} == {0}


@pytest.mark.fault("A9")
@pytest.mark.parametrize("query", ["start=2000-01-01", "end=2099-01-01", ""])
def test_coverage_of_too_many_days_is_400(client: httpx2.Client, tables: Tables, query: str) -> None:
    """A missing bound is the first or last day with objects, which can be any day."""
    tables.load("a", [event(1)])
    first, last = (DAY, DAY) if query else ("1970-01-01", "9999-12-31")
    with tables.engine.begin() as connection:
        entry = (
            "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, object_date)"
            " VALUES (cast(:day AS text), now(), now(), cast(cast(:day AS text) AS date))"
        )
        connection.execute(text(entry), [{"day": str(day)} for day in {first, last}])

    refused = client.get(f"/api/v2/coverage?{query}")

    assert (refused.status_code, refused.json()["title"]) == (400, "Range too long")
    assert get_json(client, "/coverage", start="2025-08-01", end="2025-09-01")["objects"] >= 1
    assert get_json(client, "/coverage", start="2099-01-01", end="2099-01-01")["days"] == []
