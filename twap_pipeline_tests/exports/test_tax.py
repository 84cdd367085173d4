"""Tax files from orders: the exact header and rows of each tool, orders that are not trades, decimals and symbols."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twap_pipeline.domain.symbols import SpotPair, SymbolResolver
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.rows import ORDER_COLUMNS
from twap_pipeline.exports.tax.entry import NotATradeError
from twap_pipeline.exports.tax.order_entries import order_to_entries
from twap_pipeline.exports.tax.review import TaxReview
from twap_pipeline.exports.tax.tools import AWAKEN, TOOLS
from twap_pipeline.exports.tax.writer import TaxWriter

pytestmark = pytest.mark.unit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SYMBOLS = SymbolResolver([SpotPair(107, "HYPE", "USDC", EPOCH, None), SpotPair(232, "HYPE", "USDH", EPOCH, None)])
NOTE = "fees not included"

GOLDEN = {
    "awaken": [
        "Date,Received Quantity,Received Currency,Received Fiat Amount,Sent Quantity,Sent Currency,Sent Fiat Amount,"
        "Fee Amount,Fee Currency,Transaction Hash,Notes,Tag",
        f'08/20/2025 12:30:00,0.5,HYPE,,21.10,USDC,,,,hl-twap-7,"Hyperliquid TWAP 7, finished, whole order, {NOTE}",',
        f'08/20/2025 12:30:00,3,USDH,,0.5,HYPE,,,,hl-twap-8,"Hyperliquid TWAP 8, terminated, whole order, {NOTE}",',
    ],
    "koinly": [
        "Date,Sent Amount,Sent Currency,Received Amount,Received Currency,Fee Amount,Fee Currency,Net Worth Amount,"
        "Net Worth Currency,Label,Description,TxHash",
        f'2025-08-20 12:30:00 UTC,21.10,USDC,0.5,HYPE,,,,,,"Hyperliquid TWAP 7, finished, whole order, {NOTE}",'
        "hl-twap-7",
        f'2025-08-20 12:30:00 UTC,0.5,HYPE,3,USDH,,,,,,"Hyperliquid TWAP 8, terminated, whole order, {NOTE}",hl-twap-8',
    ],
    "cointracker": [
        "Date,Received Quantity,Received Currency,Sent Quantity,Sent Currency,Fee Amount,Fee Currency,Tag",
        "08/20/2025 12:30:00,0.5,HYPE,21.10,USDC,,,",
        "08/20/2025 12:30:00,3,USDH,0.5,HYPE,,,",
    ],
    "coinledger": [
        "Date (UTC),Platform (Optional),Asset Sent,Amount Sent,Asset Received,Amount Received,Fee Currency (Optional),"
        "Fee Amount (Optional),Type,Description (Optional),TxHash (Optional)",
        "08/20/2025 12:30:00,Hyperliquid,USDC,21.10,HYPE,0.5,,,Trade,"
        f'"Hyperliquid TWAP 7, finished, whole order, {NOTE}",hl-twap-7',
        "08/20/2025 12:30:00,Hyperliquid,HYPE,0.5,USDH,3,,,Trade,"
        f'"Hyperliquid TWAP 8, terminated, whole order, {NOTE}",hl-twap-8',
    ],
    "zenledger": [
        "Timestamp,Type,IN Amount,IN Currency,Out Amount,Out Currency,Fee Amount,Fee Currency,Exchange(optional),"
        "US Based",
        "2025-08-20T12:30:00Z,Trade,0.5,HYPE,21.10,USDC,,,Hyperliquid,No",
        "2025-08-20T12:30:00Z,Trade,3,USDH,0.5,HYPE,,,Hyperliquid,No",
    ],
    "summ": [
        "Timestamp (UTC),Type,Base Currency (Optional),Base Amount (Optional),Quote Currency (Optional),"
        "Quote Amount (Optional),Fee Currency (Optional),Fee Amount (Optional),From (Optional),To (Optional),"
        "ID (Optional),Description (Optional)",
        "2025-08-20 12:30:00,buy,HYPE,0.5,USDC,21.10,,,,,hl-twap-7,"
        f'"Hyperliquid TWAP 7, finished, whole order, {NOTE}"',
        f'2025-08-20 12:30:00,sell,HYPE,0.5,USDH,3,,,,,hl-twap-8,"Hyperliquid TWAP 8, terminated, whole order, {NOTE}"',
    ],
    "coinpanda": [
        "Timestamp (UTC),Type,Sent Amount,Sent Currency,Received Amount,Received Currency,Fee Amount,Fee Currency,"
        "Net Worth Amount,Net Worth Currency,Label,Description,TxHash",
        f'2025-08-20 12:30:00,Trade,21.10,USDC,0.5,HYPE,,,,,,"Hyperliquid TWAP 7, finished, whole order, {NOTE}",'
        "hl-twap-7",
        f'2025-08-20 12:30:00,Trade,0.5,HYPE,3,USDH,,,,,,"Hyperliquid TWAP 8, terminated, whole order, {NOTE}",'
        "hl-twap-8",
    ],
}


def order(**fields: object) -> dict[str, Any]:
    """Return an executed order, as a mapping from `rows.ORDER_COLUMNS`."""
    defaults: dict[str, object] = {
        **dict.fromkeys(ORDER_COLUMNS),
        "twap_id": "7",
        "asset": "@107",
        "side": "B",
        "status": "finished",
        "started_at": datetime(2025, 8, 20, 12, tzinfo=UTC),
        "last_status_at": datetime(2025, 8, 20, 12, 30, 0, 123456, tzinfo=UTC),
        "size_executed": "0.5",
        "notional_executed": "21.10",
    }
    return {**defaults, **fields}


def review(name: str, *orders: dict[str, Any]) -> TaxReview:
    """Return the review of orders for a tool."""
    result = TaxReview(TOOLS[name], "orders", ORDER_COLUMNS, partial(order_to_entries, symbols=SYMBOLS))
    for item in orders:
        result.add([*item.values()])
    return result


def write_text(name: str, *orders: dict[str, Any]) -> str:
    """Return the file of a tool."""
    writer = TaxWriter(review(name, *orders))
    return (writer.begin() + writer.rows([list(order.values()) for order in orders]) + writer.end()).decode()


@pytest.mark.parametrize("name", TOOLS)
def test_tax_file_has_the_documented_header_and_rows(name: str) -> None:
    sold = order(twap_id="8", asset="@232", side="A", status="terminated", notional_executed="3")

    assert write_text(name, order(), sold).split("\r\n") == [*GOLDEN[name], ""]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"side": None}, "side missing"),
        ({"side": "X"}, "side X"),
        ({"notional_executed": None}, "notional_executed missing"),
        ({"notional_executed": "0.0"}, "notional_executed 0.0"),
        ({"size_executed": "NaN"}, "size_executed NaN"),
        ({"asset": None}, "asset missing"),
        ({"asset": "@999"}, "unknown spot pair @999"),
        ({"asset": "/USDC"}, "unknown spot pair /USDC"),
    ],
)
def test_tax_order_that_is_not_a_trade_is_refused(fields: dict[str, object], reason: str) -> None:
    result = review("koinly", order(**fields), order(twap_id="9"))

    assert result.skipped == {"7": reason}
    with pytest.raises(ExportError, match=f"1 order cannot be written as a trade: 7 \\({reason}\\)"):
        result.require_complete()


def test_tax_refusal_names_ten_orders_and_counts_the_others() -> None:
    result = review("koinly", *(order(twap_id=str(n), side=None) for n in range(12)))

    with pytest.raises(ExportError, match=r"^12 orders .*9 \(side missing\) and 2 more\. .*--skip-incomplete"):
        result.require_complete()
    assert "11 (side missing)" in result.notes()[0]


def test_tax_writer_leaves_out_only_reviewed_orders() -> None:
    incomplete = order(side=None)

    assert write_text("koinly", incomplete, order(twap_id="8")).count("\r\n") == 2
    with pytest.raises(NotATradeError):
        TaxWriter(review("koinly")).rows([list(incomplete.values())])


@pytest.mark.parametrize(
    ("started_at", "twap_ids"),
    [(datetime(2025, 12, 31, 23, 59, tzinfo=UTC), ["7"]), (datetime(2026, 1, 1, tzinfo=UTC), []), (None, [])],
)
def test_tax_order_across_years_is_noted(started_at: datetime | None, twap_ids: list[str]) -> None:
    result = review("koinly", order(started_at=started_at, last_status_at=datetime(2026, 1, 1, 0, 5, tzinfo=UTC)))

    assert result.across_years == twap_ids
    assert any("1 order began in another year" in note and note.endswith(": 7") for note in result.notes()) == bool(
        twap_ids
    )


def test_tax_awaken_truncation_is_noted() -> None:
    orders = [order(size_executed="0.123456789"), order(twap_id="8", size_executed="0.123456780")]

    (cut, kept) = csv.DictReader(io.StringIO(write_text("awaken", *orders)))
    result = review("awaken", *orders)

    assert (cut["Received Quantity"], kept["Received Quantity"]) == ("0.12345678", "0.123456780")
    assert cut["Notes"].endswith("fees not included, amounts truncated to 8 decimals")
    assert result.notes() == ["amounts truncated to 8 decimals, as Awaken requires, in 1 order: 7"]
    assert "0.123456789" in write_text("koinly", *orders)


@given(st.decimals(min_value="1e-18", max_value="1e18", places=18))
def test_tax_amounts_are_exact_or_truncated(amount: Decimal) -> None:
    text = f"{amount:f}"
    accepted = AWAKEN.accepted(text)

    (row,) = csv.DictReader(io.StringIO(write_text("koinly", order(size_executed=text, notional_executed=text))))
    assert {Decimal(row["Sent Amount"]), Decimal(row["Received Amount"])} == {amount}
    assert len(accepted.partition(".")[2].rstrip("0")) <= 8
    assert 0 <= amount - Decimal(accepted) < Decimal("1e-8")
    assert AWAKEN.truncates(text) == (Decimal(accepted) != amount)


@pytest.mark.parametrize("symbol", ["=HYPE", "+X", "-", "@1"])
def test_tax_file_has_unescaped_symbols(symbol: str) -> None:
    """Tax tools compare symbols character by character; an apostrophe would make another currency."""
    for name in TOOLS:
        (row,) = csv.DictReader(io.StringIO(write_text(name, order(asset=f"{symbol}/USDC"))))
        assert {symbol, "USDC"} <= set(row.values())
