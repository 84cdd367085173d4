"""What should be running, what it would still execute, a wallet added up, days: held against sums made in Python."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from twap_pipeline_tests.api.conftest import Tables
from twap_pipeline_tests.factories import WALLET, event

OTHER = "0x" + "ab" * 20


def run_now(tables: Tables, *orders: dict[str, object]) -> None:
    """Put orders into the table, their times in minutes from now."""
    usual = {
        "wallet": WALLET, "asset": "BTC", "side": "B", "size": "60", "status": "activated", "minutes": 60, "began": -30,
        "ended": None, "executed": None, "notional": None,
    }  # fmt: skip
    statement = text(
        "INSERT INTO twap_orders (twap_id, wallet, asset, side, size_requested, size_executed, notional_executed,"
        " status, last_status_at, started_at, ended_at, duration_minutes, event_count, first_event_at, first_object_key,"
        " last_object_key) SELECT :id, :wallet, :asset, :side, CAST(:size AS numeric), CAST(:executed AS numeric),"
        " CAST(:notional AS numeric), :status, at, at, now() + CAST(:ended AS integer) * interval '1 minute', :minutes,"
        " 1, at, 'o', 'o' FROM (SELECT now() + :began * interval '1 minute' AS at) AS begun"
    )
    with tables.engine.begin() as connection:
        connection.execute(statement, [{"id": str(n), **usual, **order} for n, order in enumerate(orders, 1)])


def get(client: httpx2.Client, path: str, **parameters: Any) -> Any:
    json_response = client.get(f"/api/v1{path}", params=parameters)
    assert json_response.status_code == 200, json_response.text
    return json_response.json()


def seconds_until(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


def test_active_orders_come_with_an_estimate_and_stale_ones_apart(client: httpx2.Client, tables: Tables) -> None:
    run_now(
        tables,
        {},
        {"began": -100},
        {"began": -70},
        {"status": "waitingForTrigger", "began": -9999},
        {"ended": -1, "status": "finished"},
    )

    to_json_value = get(client, "/twaps/active")

    assert (to_json_value["estimate"], to_json_value["active_count"], to_json_value["stale_count"]) == ("linear", 3, 1)
    within_grace, half, waiting = to_json_value["active"]
    assert (within_grace["twap_id"], within_grace["estimate_remaining_size"]) == ("3", "0.00000000")
    assert half["twap_id"] == "1"
    assert Decimal("29.9") < Decimal(half["estimate_remaining_size"]) <= 30
    assert 1790 < seconds_until(half["expected_end"]) <= 1800
    assert (waiting["twap_id"], waiting["expected_end"]) == ("4", None)
    assert Decimal(waiting["estimate_remaining_size"]) == 60
    assert [one["twap_id"] for one in to_json_value["stale"]] == ["2"]


def test_active_orders_of_one_wallet_or_asset_and_at_most_so_many(client: httpx2.Client, tables: Tables) -> None:
    run_now(tables, {}, {"wallet": OTHER, "began": -20}, {"asset": "ETH", "began": -10})

    def ids(**parameters: object) -> list[str]:
        return [one["twap_id"] for one in get(client, "/twaps/active", **parameters)["active"]]

    assert ids() == ["1", "2", "3"]
    assert ids(wallet=OTHER.upper().replace("0X", "0x")) == ["2"]
    assert ids(asset="ETH") == ["3"]
    assert ids(limit=2) == ["1", "2"]
    assert get(client, "/twaps/active", limit=1)["active_count"] == 3


def test_pressure_nets_what_is_left_within_each_horizon(client: httpx2.Client, tables: Tables) -> None:
    run_now(
        tables,
        {},
        {"side": "A", "size": "120", "minutes": 120, "began": -60},
        {"began": -100},
        {"status": "waitingForTrigger"},
        {"ended": -5, "executed": "2", "notional": "2000", "status": "finished"},
        {"ended": -9, "executed": "2", "notional": "9000", "status": "finished", "began": -40},
    )

    (asset,) = get(client, "/pressure", horizon=[10, 600])["assets"]

    assert (asset["asset"], asset["orders"]) == ("BTC", 2)
    assert Decimal(asset["estimate_price"]) == 1000
    soon, all_of_it = asset["horizons"]
    assert (soon["horizon_minutes"], all_of_it["horizon_minutes"]) == (10, 600)
    assert Decimal(soon["estimate_buy_size"]) == Decimal(soon["estimate_sell_size"]) == 10
    assert Decimal(soon["estimate_net_notional"]) == 0
    assert float(all_of_it["estimate_net_size"]) == pytest.approx(-30, abs=0.2)
    assert float(all_of_it["estimate_net_notional"]) == pytest.approx(-30_000, abs=200)


def test_pressure_without_a_known_price_has_no_notional(client: httpx2.Client, tables: Tables) -> None:
    run_now(tables, {})

    (asset,) = get(client, "/pressure")["assets"]

    assert asset["estimate_price"] is None
    assert {one["estimate_net_notional"] for one in asset["horizons"]} == {None}
    assert [one["horizon_minutes"] for one in asset["horizons"]] == [5, 15, 60, 240, 1440]


def _filled(twap_id: int, size: str, notional: str, **fields: Any) -> list[dict[str, object]]:
    end = event(twap_id, minute=30, executed=size, **{"status": "finished", **fields})
    fields.pop("status", None)
    return [event(twap_id, **fields), {**end, "state_executedNtl": notional}]


def test_a_wallet_is_added_up_exactly(client: httpx2.Client, tables: Tables) -> None:
    sizes = [("0.1", "0.3"), ("0.2", "0.0000000000000000000000000000001"), ("10", "12345678901234567890.5")]
    rows: Sequence[dict[str, object]] = [
        row for n, (size, notional) in enumerate(sizes, 1) for row in _filled(n, size, notional, asset="BTC")
    ]
    tables.take("a", [*rows, *_filled(8, "0", "0", status="error"), event(9), *_filled(5, "1", "1", wallet=OTHER)])

    to_json_value = get(client, f"/wallets/{WALLET.upper().replace('0X', '0X')}/summary")

    btc, hype = to_json_value["by_asset"]
    total = Decimal("12345678901234567890.8000000000000000000000000000001")
    assert (to_json_value["orders"], Decimal(to_json_value["notional_executed"])) == (5, total)
    assert (btc["asset"], btc["orders"], btc["finished"], btc["is_underfilled"]) == ("BTC", 3, 3, 2)
    assert (Decimal(btc["size_executed"]), Decimal(btc["notional_executed"])) == (Decimal("10.3"), total)
    assert float(btc["average_price"]) == pytest.approx(float(total / Decimal("10.3")))
    assert (hype["orders"], hype["running"], hype["error"], hype["average_price"]) == (2, 1, 1, None)
    assert to_json_value["unavailable_metrics"] == ["fees", "closed profit", "slices"]


def test_a_summary_of_a_range_counts_orders_by_their_last_event(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", _filled(1, "1", "1"))

    inside = get(client, f"/wallets/{WALLET}/summary", start="2025-08-20T12:30:00.123456Z")
    outside = get(client, f"/wallets/{WALLET}/summary", end="2025-08-20T12:30:00.123456Z")

    assert (inside["orders"], outside["orders"], outside["by_asset"]) == (1, 0, [])
    assert outside["first_order_at"] is None


def test_daily_figures_in_pages_are_those_of_the_view(client: httpx2.Client, tables: Tables) -> None:
    rows = [
        row for n, asset in enumerate(["BTC", "ETH", "@107", "kBONK"], 1) for row in _filled(n, "1", "2", asset=asset)
    ]
    tables.take("a", [*rows, event(9, asset="BTC")])

    found, cursor = [], None
    while True:
        page = get(
            client,
            "/stats/daily",
            start="2025-08-20",
            end="2025-08-22",
            limit=2,
            **({"cursor": cursor} if cursor else {}),
        )
        found += page["days"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    with tables.engine.connect() as connection:
        view = connection.execute(
            text("SELECT asset, status, order_count, notional_executed FROM twap_daily_stats")
        ).all()
    to_json_value = [(one["asset"], one["status"], one["orders"], Decimal(one["notional_executed"])) for one in found]
    assert len(to_json_value) == 5
    assert sorted(to_json_value) == sorted(tuple(row) for row in view)
    assert get(client, "/stats/daily", start="2025-08-20", asset="ETH")["days"][0]["notional_executed"] == "2"
    assert get(client, "/stats/daily", start="2025-08-21")["days"] == []


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
        "/twaps/active?wallet=0x1",
        "/twaps/active?limit=0",
        "/wallets/0x1/summary",
        f"/wallets/{WALLET}/summary?start=2025-02-01&end=2025-01-01",
        "/coverage?start=2025-02-01&end=2025-01-01",
        "/coverage?start=2000-01-01&end=2099-01-01",
    ],
)
def test_ranges_and_bounds_of_every_question(idle_client: httpx2.Client, path: str) -> None:
    assert idle_client.get(f"/api/v1{path}").status_code in {400, 422}


def test_coverage_shows_gaps_failures_and_what_the_orders_lack(client: httpx2.Client, tables: Tables) -> None:
    tables.take("hourly/2025/08/20/12/a.parquet", [event(1), event(2, wallet="?")])
    tables.take("hourly/2025/08/20/13/b.parquet", [event(3)], refresh=False)
    with tables.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, error_text, failed_attempts, ingested_at,"
                " object_date) VALUES ('bad', '2025-08-23Z', 'no parquet', 3, now(), '2025-08-22'),"
                " ('new', '2025-08-23Z', 'cut', 1, now(), '2025-08-23')"
            )
        )

    to_json_value = get(client, "/coverage")

    assert (to_json_value["start"], to_json_value["end"]) == ("2025-08-20", "2025-08-24")
    assert to_json_value["missing_days"] == ["2025-08-21", "2025-08-22", "2025-08-23"]
    assert (
        to_json_value["objects"],
        to_json_value["failed"],
        to_json_value["parked"],
        to_json_value["objects_pending_refresh"],
    ) == (2, 2, 1, 1)
    assert (to_json_value["rows_read"], to_json_value["rows_inserted"], to_json_value["rows_quarantined"]) == (3, 2, 1)
    assert to_json_value["last_event_at"] == "2025-08-20T12:00:00.123456Z"
    assert to_json_value["last_object_at"] == "2025-08-21T12:00:00.000000Z"
    assert [(day["day"], day["objects"], day["parked"]) for day in to_json_value["days"]] == [
        ("2025-08-20", 2, 0), ("2025-08-21", 0, 0), ("2025-08-22", 0, 1), ("2025-08-23", 0, 0),
    ]  # fmt: skip
    narrowed = get(client, "/coverage", start="2025-08-19", end="2025-08-21")
    assert (narrowed["missing_days"], narrowed["failed"]) == (["2025-08-19"], 0)


def test_without_any_data_everything_answers_empty(idle_client: httpx2.Client) -> None:
    assert get(idle_client, "/coverage")["days"] == []
    assert get(idle_client, "/twaps/active")["active_count"] == 0
    assert get(idle_client, "/pressure")["assets"] == []
    assert get(idle_client, f"/wallets/{WALLET}/summary")["by_asset"] == []
    assert get(idle_client, "/stats/daily", start="2025-08-20")["days"] == []
    assert get(idle_client, "/twaps", wallet=WALLET)["twaps"] == []
