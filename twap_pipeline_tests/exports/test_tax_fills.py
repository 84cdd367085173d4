"""Tax files from fills: rows of each tool, ids, dates, orders across New Year, and orders that do not reconcile."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.errors import ExportError
from twap_pipeline.exports.export import ExportRequest, prepare_export, read_statement
from twap_pipeline.exports.tax.queries import MarketChoice, TaxRows
from twap_pipeline.exports.tax.tools import TOOLS
from twap_pipeline_tests.exports.tax_files import insert_orders_of_fills, read_rows, write
from twap_pipeline_tests.factories import WALLET
from twap_pipeline_tests.fill_rows import fill, insert_fills

AT = "2025-08-20 12:01:00"
SPOT = "Hyperliquid TWAP 1, 1 fill"
SPOT_ROWS = {
    "awaken": [
        f"08/20/2025 12:01:00,0.5,HYPE,,21.025,USDC,,0.00035,HYPE,hl-fill-1-buy,{SPOT!r},".replace("'", '"'),
        f"08/20/2025 12:01:00,21.025,USDC,,0.5,HYPE,,0.007,USDC,hl-fill-2-sell,{SPOT!r},".replace("'", '"'),
    ],
    "koinly": [
        f'{AT} UTC,21.025,USDC,0.5,HYPE,0.00035,HYPE,,,,"{SPOT}",hl-fill-1-buy',
        f'{AT} UTC,0.5,HYPE,21.025,USDC,0.007,USDC,,,,"{SPOT}",hl-fill-2-sell',
    ],
    "cointracker": [
        "08/20/2025 12:01:00,0.5,HYPE,21.025,USDC,0.00035,HYPE,",
        "08/20/2025 12:01:00,21.025,USDC,0.5,HYPE,0.007,USDC,",
    ],
    "coinledger": [
        f'08/20/2025 12:01:00,Hyperliquid,USDC,21.025,HYPE,0.5,HYPE,0.00035,Trade,"{SPOT}",hl-fill-1-buy',
        f'08/20/2025 12:01:00,Hyperliquid,HYPE,0.5,USDC,21.025,USDC,0.007,Trade,"{SPOT}",hl-fill-2-sell',
    ],
    "zenledger": [
        "2025-08-20T12:01:00Z,Trade,0.5,HYPE,21.025,USDC,0.00035,HYPE,Hyperliquid,No",
        "2025-08-20T12:01:00Z,Trade,21.025,USDC,0.5,HYPE,0.007,USDC,Hyperliquid,No",
    ],
    "summ": [
        f'{AT},buy,HYPE,0.5,USDC,21.025,HYPE,0.00035,,,hl-fill-1-buy,"{SPOT}"',
        f'{AT},sell,HYPE,0.5,USDC,21.025,USDC,0.007,,,hl-fill-2-sell,"{SPOT}"',
    ],
    "coinpanda": [
        f'{AT},Trade,21.025,USDC,0.5,HYPE,0.00035,HYPE,,,,"{SPOT}",hl-fill-1-buy',
        f'{AT},Trade,0.5,HYPE,21.025,USDC,0.007,USDC,,,,"{SPOT}",hl-fill-2-sell',
    ],
}
PERP = "Hyperliquid TWAP 1, 1 fill"
OPENED = f'"{PERP}, Open Long HYPE, realized profit 0 USDC less fee 0.1 USDC"'
GAIN = f'"{PERP}, Close Long HYPE, realized profit 9.5 USDC less fee 0.1 USDC"'
FLIP = f'"{PERP}, Long > Short HYPE, realized profit -2 USDC less fee 0.1 USDC"'
PERP_ROWS = {
    "awaken": [
        "Date,Asset,Amount,Fee,P&L,Payment Token,ID,Notes,Tag,Transaction Hash",
        f'08/20/2025 12:01:00,HYPE,5,0.1,0,USDC,hl-fill-1-buy,"{PERP}, Open Long HYPE",open_position,hl-fill-1-buy',
        "08/20/2025 12:02:00,HYPE,5,0.1,9.5,USDC,hl-fill-2-sell,"
        f'"{PERP}, Close Long HYPE",close_position,hl-fill-2-sell',
        "08/20/2025 12:03:00,HYPE,2,0.1,-2,USDC,hl-fill-3-sell-close,"
        f'"{PERP}, Long > Short HYPE",close_position,hl-fill-3-sell-close',
        "08/20/2025 12:03:00,HYPE,3,0,0,USDC,hl-fill-3-sell-open,"
        f'"{PERP}, Long > Short HYPE",open_position,hl-fill-3-sell-open',
    ],
    "koinly": [
        "Date,Sent Amount,Sent Currency,Received Amount,Received Currency,Fee Amount,Fee Currency,Net Worth Amount,"
        "Net Worth Currency,Label,Description,TxHash",
        f"{AT} UTC,0.1,USDC,,,,,,,realized gain,{OPENED},hl-fill-1-buy",
        f"2025-08-20 12:02:00 UTC,,,9.4,USDC,,,,,realized gain,{GAIN},hl-fill-2-sell",
        f"2025-08-20 12:03:00 UTC,2.1,USDC,,,,,,,realized gain,{FLIP},hl-fill-3-sell",
    ],
    "cointracker": [
        "Date,Received Quantity,Received Currency,Sent Quantity,Sent Currency,Fee Amount,Fee Currency,Tag",
        "08/20/2025 12:01:00,,,0.1,USDC,,,margin loss",
        "08/20/2025 12:02:00,9.4,USDC,,,,,margin gain",
        "08/20/2025 12:03:00,,,2.1,USDC,,,margin loss",
    ],
    "zenledger": [
        "Timestamp,Type,IN Amount,IN Currency,Out Amount,Out Currency,Fee Amount,Fee Currency,Exchange(optional),"
        "US Based",
        "2025-08-20T12:01:00Z,Margin Trade,,,0.1,USDC,,,Hyperliquid,No",
        "2025-08-20T12:02:00Z,Margin Trade,9.4,USDC,,,,,Hyperliquid,No",
        "2025-08-20T12:03:00Z,Margin Trade,,,2.1,USDC,,,Hyperliquid,No",
    ],
    "summ": [
        "Timestamp (UTC),Type,Base Currency (Optional),Base Amount (Optional),Quote Currency (Optional),"
        "Quote Amount (Optional),Fee Currency (Optional),Fee Amount (Optional),From (Optional),To (Optional),"
        "ID (Optional),Description (Optional)",
        f"{AT},realized-loss,USDC,0.1,,,,,,,hl-fill-1-buy,{OPENED}",
        f"2025-08-20 12:02:00,realized-profit,USDC,9.4,,,,,,,hl-fill-2-sell,{GAIN}",
        f"2025-08-20 12:03:00,realized-loss,USDC,2.1,,,,,,,hl-fill-3-sell,{FLIP}",
    ],
}


OPTIONAL = dict.fromkeys(("quote_symbol", "start_position", "builder_fee", "deployer_fee", "priority_fee"))


def spot(trade_id: int, twap_id: int = 1, **values: Any) -> dict[str, object]:
    """Return a fill of the pair HYPE/USDC: 0.5 HYPE for 21.025 USDC."""
    defaults = {**OPTIONAL, "asset": "@107", "side": "buy", "size": "0.5", "fee": "0.00035", "fee_token": "HYPE"}
    return fill(trade_id, twap_id, **{**defaults, **values})


def perpetual(trade_id: int, twap_id: int = 1, **values: Any) -> dict[str, object]:
    """Return a fill of a perpetual with a fee of 0.1 USDC."""
    defaults = {**OPTIONAL, "fee": "0.1", "quote_symbol": "USDC", "minute": trade_id}
    return fill(trade_id, twap_id, **{**defaults, **values})


def request(name: str = "koinly", market: MarketChoice = "spot", **values: object) -> ExportRequest:
    return ExportRequest(name, WALLET, market=market, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TOOLS)
def test_tax_rows_of_spot_fills_have_fees(engine: Engine, name: str) -> None:
    sold = spot(2, side="sell", fee="0.0070", fee_token="USDC")
    insert_fills(engine, spot(1), sold)
    insert_orders_of_fills(engine)

    prepared, content = write(engine, request(name, rows="fills"))

    assert content.split("\r\n")[1:] == [*SPOT_ROWS[name], ""]
    assert "Fees and realized profit are those of the loaded fills" in prepared.disclaimer


@pytest.mark.parametrize("name", PERP_ROWS)
def test_tax_rows_of_perpetuals_have_profit_and_fee(engine: Engine, name: str) -> None:
    close = perpetual(2, side="sell", direction="Close Long", realized_pnl="9.50")
    flip = perpetual(3, side="sell", direction="Long > Short", realized_pnl="-2", start_position="2")
    insert_fills(engine, perpetual(1), close, flip)
    insert_orders_of_fills(engine)

    assert write(engine, request(name, "perp", rows="fills"))[1].split("\r\n") == [*PERP_ROWS[name], ""]


@pytest.mark.parametrize("rows", ["days", "fills"])
def test_tax_rows_are_read_in_batches(engine: Engine, rows: TaxRows) -> None:
    """A file that is one batch would begin when its last row is read, and need memory for all of them."""
    insert_fills(engine, *(spot(n, twap_id=n, minute=n) for n in range(1, 6)))
    insert_orders_of_fills(engine)

    with engine.connect() as connection:
        statement = prepare_export(connection, request(rows=rows)).statement
        batches = connection.execute(statement, execution_options={"yield_per": 2}).partitions()
        assert [len(batch) for batch in batches] == [2, 2, 1]


def test_tax_days_have_a_row_per_order_and_day(engine: Engine) -> None:
    """The day of a fill is its UTC day, and a row is dated at the last fill of the day."""
    fills = [spot(n, minute=minute) for n, minute in enumerate((1, 5, 719.99, 720), start=1)]
    insert_fills(engine, *fills, spot(5, twap_id=2, minute=2))
    insert_orders_of_fills(engine)

    rows = read_rows(engine, request())

    assert [(row["TxHash"], row["Date"], row["Received Amount"], row["Fee Amount"]) for row in rows] == [
        ("hl-twap-2-2025-08-20-buy", "2025-08-20 12:02:00 UTC", "0.5", "0.00035"),
        ("hl-twap-1-2025-08-20-buy", "2025-08-20 23:59:59 UTC", "1.5", "0.00105"),
        ("hl-twap-1-2025-08-21-buy", "2025-08-21 00:00:00 UTC", "0.5", "0.00035"),
    ]
    assert rows[1]["Description"] == "Hyperliquid TWAP 1, 3 fills"


def test_tax_days_separate_directions_of_perpetuals(engine: Engine) -> None:
    """One order can close a position, flip it, and open the opposite one, all on a day."""
    close: dict[str, Any] = {"side": "sell", "direction": "Close Long", "realized_pnl": "1"}
    flip = perpetual(3, side="sell", direction="Long > Short", realized_pnl="1", start_position="2")
    opened = perpetual(4, side="sell", direction="Open Short")
    insert_fills(engine, perpetual(1, **close), perpetual(2, **close), flip, opened)
    insert_orders_of_fills(engine)

    rows = read_rows(engine, request("awaken", "perp"))

    assert [(row["ID"].removeprefix("hl-twap-1-2025-08-20-"), row["Amount"], row["P&L"]) for row in rows] == [
        ("close-long", "10", "2"),
        ("long-to-short-close", "2", "1"),
        ("long-to-short-open", "3", "0"),
        ("open-short", "5", "0"),
    ]
    assert len({row["Transaction Hash"] for row in rows}) == len(rows)


def test_tax_order_across_new_year_is_split(engine: Engine) -> None:
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    before, after = datetime(2025, 12, 31, 23, 59, 59, 999999, UTC), new_year
    insert_fills(engine, spot(1, ts=before), spot(2, ts=after))
    insert_orders_of_fills(engine)

    for rows in ("days", "fills"):
        first, second = (
            request(start=start, end=end, rows=rows) for start, end in ((None, new_year), (new_year, None))
        )
        assert [row["Date"] for row in read_rows(engine, first)] == ["2025-12-31 23:59:59 UTC"]
        assert [row["Date"] for row in read_rows(engine, second)] == ["2026-01-01 00:00:00 UTC"]
        for part in (first, second):
            with engine.connect() as connection:
                assert read_statement(connection, part).orders_across_years == ["1"]


@pytest.mark.parametrize(("has_fills", "rows"), [(True, "days"), (False, "orders")])
def test_tax_default_rows_depend_on_loaded_fills(engine: Engine, has_fills: bool, rows: str) -> None:
    insert_fills(engine, spot(1))
    insert_orders_of_fills(engine)
    if not has_fills:
        with engine.begin() as connection:
            connection.execute(text("UPDATE twap_fills SET asset = 'BTC'"))

    with engine.connect() as connection:
        review = prepare_export(connection, request()).review

    assert review is not None
    assert review.rows == rows


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("DELETE FROM twap_fills WHERE trade_id = '2'", "missing_fills: fills of 0.5 of 1"),
        ("DELETE FROM twap_fills WHERE twap_id = '1'", "missing_fills: fills of 0 of 1"),
        ("UPDATE twap_fills SET size = 3 WHERE trade_id = '2'", "surplus_fills: fills of 3.5 of 1"),
        ("UPDATE twap_fills SET price = 9 WHERE trade_id = '2'", "different_notional: fills of 1 of 1"),
        (
            "DELETE FROM twap_fills WHERE twap_id = '1'; UPDATE twap_orders SET notional_executed = NULL",
            "unknown_totals: fills of 0 of 1",
        ),
        (
            "DELETE FROM twap_fills WHERE trade_id = '2'; DELETE FROM etl_s3_ingest_log",
            "fills_not_loaded: fills of 0.5 of 1",
        ),
    ],
)
def test_tax_order_that_does_not_reconcile_is_refused(engine: Engine, change: str, state: str) -> None:
    insert_fills(engine, spot(1), spot(2), spot(3, twap_id=2))
    insert_orders_of_fills(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(change)

    with (
        pytest.raises(ExportError, match=r"--rows orders .*--skip-incomplete") as error,
        engine.connect() as connection,
    ):
        prepare_export(connection, request())
    skipped, content = write(engine, request(skip_incomplete=True))

    assert f"1 order cannot be written as a trade: 1 ({state})." in str(error.value)
    assert (content.count("hl-twap-2-"), content.count("hl-twap-1-")) == (1, 0)
    assert skipped.review is not None
    assert skipped.review.skipped == {"1": state}


def test_tax_running_order_is_written_as_far_as_filled(engine: Engine) -> None:
    insert_fills(engine, spot(1))
    insert_orders_of_fills(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE twap_orders SET ended_at = NULL, size_executed = 0, notional_executed = 0")

    assert [row["Received Amount"] for row in read_rows(engine, request())] == ["0.5"]


def test_tax_fills_without_order_are_written(engine: Engine) -> None:
    insert_fills(engine, spot(1))

    with engine.connect() as connection:
        statement = read_statement(connection, request())

    assert (statement.line_count, statement.orders_by_state) == (1, {"no_order": 1})


@pytest.mark.parametrize(
    ("name", "market", "rows", "reason"),
    [
        ("awaken", "all", "days", "one file per market"),
        ("coinledger", "perp", "days", "CoinLedger does not import them by CSV"),
        ("coinpanda", "all", "fills", "Coinpanda does not document a label"),
        ("koinly", "perp", "orders", "needs the realized profit, which only fills contain"),
        ("koinly", "perp", None, "TWAP_FILLS_URL"),
    ],
)
def test_tax_market_that_a_file_cannot_contain_is_refused(
    engine: Engine, name: str, market: MarketChoice, rows: TaxRows | None, reason: str
) -> None:
    with pytest.raises(ExportError, match=reason), engine.connect() as connection:
        prepare_export(connection, request(name, market, rows=rows))


def test_tax_file_of_all_markets_has_both(engine: Engine) -> None:
    insert_fills(engine, spot(1), perpetual(2, twap_id=2))
    insert_orders_of_fills(engine)

    assert [row["Label"] for row in read_rows(engine, request(market="all"))] == ["", "realized gain"]


def test_tax_perpetuals_without_amount_have_no_row(engine: Engine) -> None:
    insert_fills(engine, perpetual(1, fee="0.00"), perpetual(2, realized_pnl="0.1"))
    insert_orders_of_fills(engine)

    prepared, content = write(engine, request(market="perp", rows="fills"))

    assert (content.count("\r\n"), prepared.review and prepared.review.line_counts) == (1, {"1": 0})


def test_tax_statement_lists_states_sums_and_skipped(engine: Engine) -> None:
    fees: dict[str, Any] = {"builder_fee": "0.02", "deployer_fee": "0.03", "priority_fee": "0.04"}
    insert_fills(
        engine,
        spot(1, **fees),
        perpetual(2, twap_id=2, realized_pnl="7.5"),
        perpetual(3, twap_id=2, realized_pnl="-1", fee="0.25"),
        spot(4, twap_id=3),
        spot(5, twap_id=4, asset="@9999"),
    )
    insert_orders_of_fills(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE twap_orders SET size_executed = 2 WHERE twap_id = '3'")
        connection.exec_driver_sql("UPDATE twap_orders SET started_at = '2024-12-31Z' WHERE twap_id = '1'")

    with engine.connect() as connection:
        statement = read_statement(connection, request(market="all"))

    assert statement.is_complete is False
    assert (statement.line_count, statement.order_count) == (2, 2)
    assert statement.orders_by_state == {"missing_fills": 1, "reconciled": 3}
    assert [order.twap_id for order in statement.orders_not_reconciled] == ["3"]
    assert statement.orders_across_years == ["1"]
    assert statement.skipped_orders == {
        "3": "missing_fills: fills of 0.5 of 2",
        "4": "unknown spot pair @9999",
    }
    assert [tuple(total) for total in statement.fees] == [
        ("HYPE", "0.00035", "0.02", "0.03", "0.04"),
        ("USDC", "0.35", None, None, None),
    ]
    assert [tuple(total) for total in statement.realized_profits] == [("USDC", "6.5")]
    lines = list(statement.lines())
    assert "rows: days; 2 lines of 2 orders" in lines
    assert "order 3 missing_fills: fills 1, size 0.5 of 2, notional 21.025 of 21.025" in lines
    assert "realized profit before fees in USDC: 6.5" in lines
