"""Two made months of a busy wallet, with orders across New Year: pandas reads the sums of SQL from every tax file."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from twap_pipeline.exports.export import ExportRequest, read_statement
from twap_pipeline.exports.tax.queries import MarketChoice, TaxRows
from twap_pipeline.exports.tax.tools import AWAKEN_PERPETUALS, TOOLS
from twap_pipeline_tests.exports.tax_files import insert_orders_of_fills, write
from twap_pipeline_tests.factories import WALLET

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
FILLS = """
INSERT INTO twap_fills (trade_id, wallet, twap_id, ts, asset, side, direction, price, size, quote_symbol, realized_pnl,
  start_position, fee, fee_token, s3_object_key, s3_last_modified)
SELECT (n * 100 + k)::text, :wallet, n::text, at, asset, CASE WHEN is_buy THEN 'buy' ELSE 'sell' END,
  CASE WHEN is_spot THEN CASE WHEN is_buy THEN 'Buy' ELSE 'Sell' END
    WHEN k < 5 THEN CASE WHEN is_buy THEN 'Close Short' ELSE 'Close Long' END
    WHEN k = 5 THEN CASE WHEN is_buy THEN 'Short > Long' ELSE 'Long > Short' END
    ELSE CASE WHEN is_buy THEN 'Open Long' ELSE 'Open Short' END END,
  n * 0.0101 + k, n * 0.0003 + k, quote,
  CASE WHEN is_spot OR k > 5 THEN 0 ELSE (k - 2) * n * 0.00000007 END,
  CASE WHEN k = 5 THEN (n * 0.0003 + k) * CASE WHEN is_buy THEN -0.25 ELSE 0.25 END ELSE 0 END,
  (n + k) * 0.00000011, CASE WHEN is_spot AND is_buy THEN base ELSE quote END, 'a', now()
FROM generate_series(1, 40) AS n, generate_series(1, 10) AS k,
  LATERAL (SELECT '2025-12-03Z'::timestamptz + n * interval '24 h' + k * interval '3 h' AS at) AS t,
  LATERAL (SELECT n % 2 = 0 AS is_buy) AS s,
  LATERAL (SELECT (ARRAY['@107', 'PURR/USDC', '@232', 'BTC', 'flx:OIL'])[n % 5 + 1] AS asset,
    (ARRAY['HYPE', 'PURR', 'HYPE', NULL, NULL])[n % 5 + 1] AS base,
    (ARRAY['USDC', 'USDC', 'USDH', 'USDC', 'USDH'])[n % 5 + 1] AS quote, n % 5 < 3 AS is_spot) AS p
"""
CHANGES = """
SELECT year, currency, sum(change) FROM (
  SELECT extract(YEAR FROM ts AT TIME ZONE 'UTC')::int AS year, change.*
  FROM twap_fills LEFT JOIN spot_pairs ON asset = '@' || pair_index,
  LATERAL (VALUES
    (coalesce(base, 'PURR'), CASE direction WHEN 'Buy' THEN size WHEN 'Sell' THEN -size END, 'spot'),
    (quote_symbol, CASE direction WHEN 'Buy' THEN -price * size WHEN 'Sell' THEN price * size END, 'spot'),
    (quote_symbol, realized_pnl, 'perp'),
    (fee_token, -fee, CASE WHEN direction IN ('Buy', 'Sell') THEN 'spot' ELSE 'perp' END)
  ) AS change (currency, change, market)
) AS changes
WHERE change <> 0 AND (market = :market OR :market = 'all') GROUP BY year, currency
"""
SUMS = """
SELECT quote_symbol, sum(fee), sum(realized_pnl), count(DISTINCT twap_id) FROM twap_fills
WHERE ts < :end AND asset IN ('BTC', 'flx:OIL') GROUP BY quote_symbol
"""
COLUMNS = {
    "awaken": ("Received Quantity", "Received Currency", "Sent Quantity", "Sent Currency"),
    "koinly": ("Received Amount", "Received Currency", "Sent Amount", "Sent Currency"),
    "cointracker": ("Received Quantity", "Received Currency", "Sent Quantity", "Sent Currency"),
    "coinledger": ("Amount Received", "Asset Received", "Amount Sent", "Asset Sent"),
    "zenledger": ("IN Amount", "IN Currency", "Out Amount", "Out Currency"),
    "coinpanda": ("Received Amount", "Received Currency", "Sent Amount", "Sent Currency"),
}
"""The received and sent columns."""

Changes = dict[tuple[int, str], Decimal]


@pytest.fixture(scope="module")
def year(shared_engine: Engine) -> Engine:
    """40 orders with ten fills each: one order a day, over 30 hours, from December to January."""
    with shared_engine.begin() as connection:
        connection.execute(text(FILLS), {"wallet": WALLET})
    insert_orders_of_fills(shared_engine)
    return shared_engine


def row_changes(name: str, market: MarketChoice, row: Mapping[Any, str]) -> Iterator[tuple[str, str]]:
    """Yield currency and amount of every change of balance in a row of a tool's file."""
    if name == "awaken" and market == "perp":
        yield row["Payment Token"], row["P&L"]
        yield row["Payment Token"], f"-{row['Fee']}"
        return
    if name == "summ":
        is_received = row["Type"] in {"buy", "realized-profit"}
        base, quote = ("", "-") if is_received else ("-", "")
        yield row["Base Currency (Optional)"], base + row["Base Amount (Optional)"]
        yield row["Quote Currency (Optional)"], quote + row["Quote Amount (Optional)"]
    else:
        received, received_currency, sent, sent_currency = COLUMNS[name]
        yield row[received_currency], row[received]
        yield row[sent_currency], f"-{row[sent]}"
    fee, fee_currency = (
        next(cell for cell in row if cell.startswith(f"Fee {part}")) for part in ("Amount", "Currency")
    )
    yield row[fee_currency], f"-{row[fee]}"


def file_changes(name: str, market: MarketChoice, content: str) -> Changes:
    """Return the changes of balance by UTC year and currency, from a tool's file."""
    tool = AWAKEN_PERPETUALS if (name, market) == ("awaken", "perp") else TOOLS[name]
    frame = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False)
    changes: Changes = defaultdict(Decimal)
    for row in frame.to_dict("records"):
        year = datetime.strptime(row[next(iter(tool.columns))], tool.date_format).year  # noqa: DTZ007
        for currency, amount in row_changes(name, market, row):
            if currency:
                changes[year, currency] += Decimal(amount)
    return dict(changes)


def sql_changes(engine: Engine, market: MarketChoice) -> Changes:
    """Return the changes of balance by UTC year and currency, from the tables."""
    with engine.connect() as connection:
        rows = connection.execute(text(CHANGES), {"market": market})
        return {(year, currency): change for year, currency, change in rows}


MARKETS: dict[MarketChoice, list[str]] = {
    "spot": [*TOOLS],
    "perp": ["awaken", "koinly", "cointracker", "zenledger", "summ"],
    "all": ["koinly", "cointracker", "zenledger", "summ"],
}


@pytest.mark.parametrize("rows", ["days", "fills"])
def test_tax_files_of_a_year_have_the_sums_of_sql(year: Engine, rows: TaxRows) -> None:
    for market, names in MARKETS.items():
        expected = sql_changes(year, market)
        assert {year for year, _ in expected} == {2025, 2026}
        for name in names:
            content = write(year, ExportRequest(name, WALLET, market=market, rows=rows))[1]
            assert file_changes(name, market, content) == expected, (name, market)


@pytest.mark.parametrize("rows", ["days", "fills"])
def test_tax_files_of_two_years_are_the_whole_file(year: Engine, rows: TaxRows) -> None:
    """Every fill is in the file of its year, although orders run over New Year; ids are the same and unique."""
    for market, name in (("spot", "koinly"), ("perp", "awaken")):
        whole, first, second = (
            write(year, ExportRequest(name, WALLET, start, end, market, rows=rows))[1].splitlines()  # type: ignore[arg-type]
            for start, end in ((None, None), (None, NEW_YEAR), (NEW_YEAR, None))
        )
        assert whole == first + second[1:]
        ids = pd.read_csv(io.StringIO("\n".join(whole)))["TxHash" if name == "koinly" else "Transaction Hash"]
        assert ids.is_unique


def test_tax_statement_of_a_year_has_the_sums_of_sql(year: Engine) -> None:
    with year.connect() as connection:
        statement = read_statement(connection, ExportRequest("koinly", WALLET, end=NEW_YEAR, market="perp"))
        sums = connection.execute(text(SUMS), {"end": NEW_YEAR}).all()

    fees, profits, order_count = ({token: row[number] for token, *row in sums} for number in range(3))
    assert {total.token: Decimal(total.fee or 0) for total in statement.fees} == fees
    assert {total.token: Decimal(total.realized_profit or 0) for total in statement.realized_profits} == profits
    assert statement.orders_by_state == {"reconciled": sum(order_count.values())}
    assert len(statement.orders_across_years) == 1
    assert statement.is_complete
