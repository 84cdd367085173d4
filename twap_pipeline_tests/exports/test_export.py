"""A whole export on PostgreSQL: the market of the orders, and sums that an independent reader computes."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.exports.export import ExportRequest
from twap_pipeline.exports.tax.tools import TOOLS
from twap_pipeline_tests.exports.tax_files import write
from twap_pipeline_tests.factories import WALLET

ORDERS = """
INSERT INTO twap_orders (twap_id, wallet, asset, side, size_executed, notional_executed, status, last_status_at,
  started_at, ended_at, event_count, first_event_at, first_object_key, last_object_key)
SELECT n::text, :wallet, (ARRAY['@107', 'PURR/USDC', '@232', 'BTC', 'xyz:NVDA'])[n % 5 + 1],
  (ARRAY['B', 'A'])[n % 2 + 1], CASE n % 7 WHEN 0 THEN 0 ELSE n * 0.10000001 END, n * 1000.00000007, 'finished', at,
  at - interval '1 hour', at, 2, at, 'a', 'b'
FROM generate_series(1, 420) AS n, LATERAL (SELECT '2025-12-31 18:00Z'::timestamptz + n * interval '100 s' AS at) AS t
"""
SUMS = """
SELECT coalesce(p.base, split_part(o.asset, '/', 1)), coalesce(p.quote, split_part(o.asset, '/', 2)), side,
  sum(size_executed), sum(notional_executed)
FROM twap_orders AS o LEFT JOIN spot_pairs AS p ON o.asset = '@' || p.pair_index
WHERE size_executed > 0 AND (o.asset LIKE '@%' OR o.asset LIKE '%/%')
GROUP BY 1, 2, 3
"""
SENT_AND_RECEIVED = {
    "awaken": ("Sent Quantity", "Sent Currency", "Received Quantity", "Received Currency"),
    "koinly": ("Sent Amount", "Sent Currency", "Received Amount", "Received Currency"),
    "cointracker": ("Sent Quantity", "Sent Currency", "Received Quantity", "Received Currency"),
    "coinledger": ("Amount Sent", "Asset Sent", "Amount Received", "Asset Received"),
    "zenledger": ("Out Amount", "Out Currency", "IN Amount", "IN Currency"),
    "coinpanda": ("Sent Amount", "Sent Currency", "Received Amount", "Received Currency"),
    "summ": tuple(f"{name} (Optional)" for name in ("Quote Amount", "Quote Currency", "Base Amount", "Base Currency")),
}
"""The columns of a buy in each file."""


@pytest.fixture(scope="module")
def orders(shared_engine: Engine) -> Engine:
    """420 orders of spot pairs and perpetuals; some run over New Year, some executed nothing."""
    with shared_engine.begin() as connection:
        connection.execute(text(ORDERS), {"wallet": WALLET})
    return shared_engine


def sums_of(frame: pd.DataFrame, name: str) -> set[tuple[Any, ...]]:
    """Return base, quote, side, base amount and quote amount per pair and side, read from a tool's file."""
    sent, sent_currency, received, received_currency = SENT_AND_RECEIVED[name]
    quotes = {"USDC", "USDH"}
    sums: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    for row in frame.to_dict("records"):
        one = (row[received_currency], Decimal(row[received]))
        other = (row[sent_currency], Decimal(row[sent]))
        is_buy = row["Type"] == "buy" if name == "summ" else one[0] not in quotes
        base, quote = (one, other) if is_buy or name == "summ" else (other, one)
        key = (base[0], quote[0], "B" if is_buy else "A")
        before = sums.get(key, (Decimal(0), Decimal(0)))
        sums[key] = (before[0] + base[1], before[1] + quote[1])
    return {(*key, *amounts) for key, amounts in sums.items()}


def test_tax_files_read_by_pandas_have_the_sums_of_sql(orders: Engine) -> None:
    with orders.connect() as connection:
        expected = {tuple(row) for row in connection.execute(text(SUMS))}
    assert len(expected) == 6

    for name in TOOLS:
        prepared, content = write(orders, ExportRequest(name, WALLET))
        frame = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False)
        assert sums_of(frame, name) == expected, name
        assert prepared.review is not None
        assert (len(frame), prepared.review.perpetual_count) == (216, 144)


def test_tax_files_of_two_ranges_are_the_whole_file(orders: Engine) -> None:
    """No order is in both files, and an order has the same row in a file of another range."""
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    whole, first, second = (
        write(orders, ExportRequest("koinly", WALLET, start, end))
        for start, end in ((None, None), (None, new_year), (new_year, None))
    )

    assert whole[1].splitlines() == first[1].splitlines() + second[1].splitlines()[1:]
    assert first[0].review is not None
    assert second[0].review is not None
    assert not first[0].review.across_years
    assert 0 < len(second[0].review.across_years) < 36
