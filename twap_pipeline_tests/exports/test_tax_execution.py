"""Fills as entries of a tax file: which values are refused, and that amounts are the text of the row."""

from datetime import UTC, datetime
from typing import Any

import pytest

from twap_pipeline.domain.symbols import SpotPair, SymbolResolver
from twap_pipeline.exports.tax.entry import NotATradeError
from twap_pipeline.exports.tax.fill_entries import COLUMNS, execution_to_entries
from twap_pipeline.exports.tax.tools import AWAKEN_PERPETUALS, KOINLY, Cell, Label, TaxTool

pytestmark = pytest.mark.unit

AT = datetime(2025, 8, 20, 12, tzinfo=UTC)
SYMBOLS = SymbolResolver([SpotPair(107, "HYPE", "USDC", datetime(1970, 1, 1, tzinfo=UTC), None)])


def execution(**values: object) -> dict[str, Any]:
    """Return a closed position, as a mapping from `COLUMNS`."""
    defaults: dict[str, object] = {
        **dict.fromkeys(COLUMNS),
        "twap_id": "7",
        "row_id": "hl-fill-1-sell",
        "is_spot": False,
        "asset": "xyz:MSFT",
        "side": "sell",
        "direction": "Close Long",
        "executed_at": AT,
        "fill_count": 1,
        "size": "5",
        "notional": "2000",
        "realized_pnl": "10",
        "fee": "0.9",
        "net_profit": "9.1",
        "fee_token": "USDC",
        "quote_symbol": "USDC",
    }
    return {**defaults, **values}


def trade(**values: object) -> dict[str, Any]:
    """Return a sold spot pair, as a mapping from `COLUMNS`."""
    return execution(**{"is_spot": True, "asset": "@107", "direction": None, "quote_symbol": None, **values})


@pytest.mark.parametrize(
    ("row", "tool", "reason"),
    [
        (trade(side="X"), KOINLY, "side X"),
        (trade(size="NaN"), KOINLY, "size NaN"),
        (trade(notional="0"), KOINLY, "notional 0"),
        (trade(asset="@9"), KOINLY, "unknown spot pair @9"),
        (trade(fee=None), KOINLY, "fee missing"),
        (trade(fee="NaN"), KOINLY, "fee NaN"),
        (trade(fee="-0.1"), KOINLY, "fee -0.1 is a rebate"),
        (trade(fee_token=None), KOINLY, "fee_token missing, or several tokens in one row"),
        (execution(realized_pnl=None, net_profit=None), KOINLY, "realized_pnl missing"),
        (execution(realized_pnl="NaN"), KOINLY, "realized_pnl NaN"),
        (execution(fee=None), KOINLY, "fee missing"),
        (execution(fee_token="HYPE"), KOINLY, "fee in HYPE, profit in USDC"),
        (execution(fee="0", fee_token=None, quote_symbol=None), KOINLY, "quote_symbol missing"),
        (execution(fee="-0.1"), AWAKEN_PERPETUALS, "fee -0.1 is a rebate"),
        (execution(direction=None), AWAKEN_PERPETUALS, "direction missing"),
        (execution(direction="Net Child Vaults"), AWAKEN_PERPETUALS, "direction Net Child Vaults"),
        (execution(direction="Open Long"), AWAKEN_PERPETUALS, "realized_pnl 10 of an opened position"),
        (execution(direction="Long > Short"), AWAKEN_PERPETUALS, "closed_size missing"),
        (execution(size="0"), AWAKEN_PERPETUALS, "size 0"),
    ],
)
def test_execution_with_unusable_value_is_refused(row: dict[str, Any], tool: TaxTool, reason: str) -> None:
    with pytest.raises(NotATradeError) as error:
        execution_to_entries(row, SYMBOLS, tool)

    assert str(error.value) == reason


@pytest.mark.parametrize("direction", ["Close Short", "Liquidated Isolated Long", "Auto-Deleveraging", "Settlement"])
def test_execution_that_closes_is_labelled_close(direction: str) -> None:
    (entry,) = execution_to_entries(execution(direction=direction), SYMBOLS, AWAKEN_PERPETUALS)

    assert entry.label is Label.CLOSE


def test_execution_of_free_trade_has_no_fee_cells() -> None:
    (entry,) = execution_to_entries(trade(fee="0", fee_token=None), SYMBOLS, KOINLY)

    assert not {Cell.FEE_AMOUNT, Cell.FEE_CURRENCY} & {*entry.amounts, *entry.texts}


def test_execution_without_quote_symbol_has_the_fee_token() -> None:
    (entry,) = execution_to_entries(execution(quote_symbol=None, fee_token="USDH"), SYMBOLS, KOINLY)

    assert entry.texts[Cell.RECEIVED_CURRENCY] == "USDH"


def test_execution_with_rebate_raises_the_net_profit() -> None:
    (entry,) = execution_to_entries(execution(realized_pnl="0", fee="-0.5", net_profit="0.5"), SYMBOLS, KOINLY)

    assert (entry.label, entry.amounts[Cell.RECEIVED_AMOUNT]) == (Label.PROFIT, "0.5")
