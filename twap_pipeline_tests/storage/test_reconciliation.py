"""The views over fills: sums per order, the states of the reconciliation, and plans that read only what they return."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text

from twap_pipeline.storage.schema.models import twap_orders
from twap_pipeline_tests.factories import DAY, NOON, WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills, log_fills
from twap_pipeline_tests.storage.statistics import set_empty_statistics

ENDED = NOON + timedelta(minutes=30)


def insert_orders(engine: Engine, *orders: Mapping[str, object]) -> None:
    """Insert orders: by default 10 HYPE executed for 420.5 USD in half an hour."""
    defaults: dict[str, object] = {
        "twap_id": "1",
        "wallet": WALLET,
        "asset": "HYPE",
        "side": "B",
        "size_requested": "10",
        "size_executed": "10",
        "notional_executed": "420.5",
        "status": "finished",
        "last_status_at": ENDED,
        "started_at": NOON,
        "ended_at": ENDED,
        "duration_minutes": 30,
        "event_count": 2,
        "first_event_at": NOON,
        "first_object_key": "a",
        "last_object_key": "a",
    }
    with engine.begin() as connection:
        connection.execute(insert(twap_orders), [{**defaults, **order} for order in orders])


def read(engine: Engine, view: str) -> Any:
    """Return the only row of a view."""
    with engine.connect() as connection:
        return connection.execute(text(f"TABLE {view}")).mappings().one()


def plan(engine: Engine, statement: str) -> str:
    """Return the plan of a statement."""
    with engine.connect() as connection:
        return "\n".join(connection.execute(text(f"EXPLAIN {statement}")).scalars())


TWO = (fill(1), fill(2))


@pytest.mark.parametrize(
    ("order", "fills", "state"),
    [
        ({}, TWO, "reconciled"),
        ({"size_executed": "0", "notional_executed": "0"}, (), "reconciled"),
        ({"notional_executed": "420.500002"}, TWO, "reconciled"),
        ({"notional_executed": "420.500003"}, TWO, "different_notional"),
        ({"size_executed": "10.00000001"}, TWO, "missing_fills"),
        ({"size_executed": "9.99999999"}, TWO, "surplus_fills"),
        ({}, TWO[:1], "missing_fills"),
        ({}, (), "missing_fills"),
        ({}, (*TWO, fill(3, size="0.01")), "surplus_fills"),
        ({"ended_at": None}, TWO[:1], "running"),
        ({"notional_executed": None}, TWO, "unknown_totals"),
        ({"last_status_at": ENDED + timedelta(days=1), "ended_at": ENDED + timedelta(days=1)}, (), "fills_not_loaded"),
        ({"started_at": NOON - timedelta(days=1)}, TWO[:1], "fills_not_loaded"),
        ({"started_at": NOON - timedelta(days=1)}, TWO, "reconciled"),
    ],
)
def test_reconciliation_of_an_order_has_its_state(
    engine: Engine, order: dict[str, object], fills: tuple[dict[str, object], ...], state: str
) -> None:
    insert_orders(engine, order)
    insert_fills(engine, *fills)

    row = read(engine, "twap_order_reconciliation")

    assert (row["state"], row["fill_count"], row["size_filled"]) == (state, len(fills), sum(map(size_of, fills)))


def size_of(row: dict[str, object]) -> Any:
    """Return the size of a fill as a decimal."""
    return Decimal(str(row["size"]))


def test_reconciliation_day_with_a_failed_object_is_not_loaded(engine: Engine) -> None:
    insert_orders(engine, {})
    insert_fills(engine, *TWO[:1])
    assert read(engine, "twap_order_reconciliation")["state"] == "missing_fills"

    log_fills(engine, DAY, key="other.parquet", error_text="not a parquet file")

    assert read(engine, "twap_order_reconciliation")["state"] == "fills_not_loaded"


def test_reconciliation_lists_fills_without_their_order(engine: Engine) -> None:
    insert_fills(engine, *TWO)

    row = read(engine, "twap_order_reconciliation")

    assert (row["state"], row["asset"], row["twap_id"], row["fill_count"]) == ("no_order", "HYPE", "1", 2)
    assert (row["size_executed"], row["last_status_at"], row["notional_filled"]) == (None, None, 420.5)


@pytest.mark.parametrize(
    ("values", "fee", "token", "profit"),
    [
        ({"fee": "0.000001", "realized_pnl": "-1.5"}, "0.094613", "USDC", "-1.5"),
        ({"fee_token": "HYPE"}, None, None, "0"),
        ({"fee_token": None}, None, None, "0"),
        ({"fee": None}, None, "USDC", "0"),
        ({"realized_pnl": None}, "0.189224", "USDC", None),
    ],
)
def test_order_fills_sums_are_exact_or_null(
    engine: Engine, values: dict[str, object], fee: str | None, token: str | None, profit: str | None
) -> None:
    insert_fills(engine, TWO[0], {**TWO[1], **values, "ts": ENDED})

    row = read(engine, "twap_order_fills")

    assert (row["fill_count"], row["size_filled"], row["notional_filled"]) == (2, 10, 420.5)
    sums = [None if value is None else str(value) for value in (row["fee"], row["fee_token"], row["realized_pnl"])]
    assert sums == [fee, token, profit]
    assert (row["first_fill_at"], row["last_fill_at"]) == (NOON + timedelta(minutes=1), ENDED)


@pytest.mark.parametrize("view", ["twap_order_fills", "twap_order_reconciliation"])
@pytest.mark.parametrize("condition", ["twap_id = '7'", "twap_id = '7' AND wallet = '0x'"])
def test_view_of_one_order_reads_by_index(engine: Engine, view: str, condition: str) -> None:
    insert_orders(engine, *({"twap_id": str(n)} for n in range(500)))
    insert_fills(engine, *(fill(n, n // 2) for n in range(1_000)))
    set_empty_statistics(engine)

    lines = plan(engine, f"SELECT * FROM {view} WHERE {condition}")

    assert "Seq Scan on twap_" not in lines


def test_reconciliation_per_order_of_a_range_uses_indexes(engine: Engine) -> None:
    """`docs/reference/tables.md` states this form for the orders of a time."""
    insert_orders(engine, *({"twap_id": str(n)} for n in range(500)))
    insert_fills(engine, *(fill(n, n // 2) for n in range(1_000)))
    set_empty_statistics(engine)

    lines = plan(
        engine,
        "SELECT state FROM twap_orders AS orders CROSS JOIN LATERAL (SELECT state FROM twap_order_reconciliation"
        " WHERE twap_id = orders.twap_id AND wallet = orders.wallet LIMIT 1) AS view WHERE last_status_at >= now()",
    )

    assert "Index Cond: (last_status_at >= now())" in lines
    assert "Seq Scan on twap_" not in lines
