"""Fills as entries of a tax file: a spot execution is a trade with its fee, a perpetual's a profit or a position.

An execution is a fill, or the fills of an order, a UTC day and a direction (``executions.sql``). Amounts are exact sums
of PostgreSQL; this module does not calculate. The fee is the column ``fee`` alone: according to the exchange's
documentation it includes the builder's fee, and ``deployer_fee`` and ``priority_fee`` are not added to it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from twap_pipeline.domain.symbols import SymbolResolver
from twap_pipeline.exports.tax.entry import (
    Amount,
    Entry,
    NotATradeError,
    make_position,
    make_profit,
    make_trade,
    require_positive,
)
from twap_pipeline.exports.tax.order_entries import resolve_pair
from twap_pipeline.exports.tax.tools import Label, TaxTool

COLUMNS = (
    *("twap_id", "row_id", "is_spot", "asset", "side", "direction", "executed_at", "fill_count", "size", "notional"),
    *("realized_pnl", "fee", "net_profit", "fee_token", "quote_symbol", "closed_size", "opened_size"),
)
"""Columns of the queries ``select_fills`` and ``select_days``, in order. Decimals are exact text."""

_FLIPS = frozenset({"Long > Short", "Short > Long"})
_CLOSES = frozenset({"Close Long", "Close Short", "Auto-Deleveraging", "Settlement"})
_OPENS = frozenset({"Open Long", "Open Short"})


def execution_to_entries(execution: Mapping[str, Any], symbols: SymbolResolver, tool: TaxTool) -> list[Entry]:
    """Return the lines of an execution.

    Args:
        execution: The columns `COLUMNS`.
        symbols: The names of spot pairs.
        tool: Of a file for positions, the lines are positions; else profits, which are net of the fee.

    Raises:
        NotATradeError: A value is missing, contradictory, or cannot be written in the file.
    """
    if execution["is_spot"]:
        return [_to_trade(execution, symbols)]
    if Label.OPEN in tool.labels:
        return _to_positions(execution)
    return _to_profits(execution)


def _to_trade(execution: Mapping[str, Any], symbols: SymbolResolver) -> Entry:
    if execution["side"] not in {"buy", "sell"}:
        raise NotATradeError(f"side {execution['side']}")
    require_positive(size=execution["size"], notional=execution["notional"])
    base, quote = resolve_pair(execution["asset"], execution["executed_at"], symbols)
    fee = _require_fee(execution)
    _refuse_rebate(fee)
    return make_trade(
        execution["row_id"],
        execution["executed_at"],
        is_buy=execution["side"] == "buy",
        base=Amount(execution["size"], base),
        quote=Amount(execution["notional"], quote),
        fee=fee if Decimal(fee.quantity) else None,
        description=_describe(execution),
    )


def _to_profits(execution: Mapping[str, Any]) -> list[Entry]:
    profit, fee = _require_profit(execution)
    net = execution["net_profit"]
    if not Decimal(net):
        return []
    amounts = f"realized profit {profit.quantity} {profit.currency} less fee {fee.quantity} {fee.currency}"
    description = f"{_describe(execution)}, {amounts}"
    return [make_profit(execution["row_id"], execution["executed_at"], Amount(net, profit.currency), description)]


def _to_positions(execution: Mapping[str, Any]) -> list[Entry]:
    """Return one line; of a flip two: the closed part, with all profit and fee, and the opened part without them."""
    profit, fee = _require_profit(execution)
    _refuse_rebate(fee)
    size, direction = execution["size"], execution["direction"] or ""
    if direction in _FLIPS:
        parts = [(Label.CLOSE, execution["closed_size"]), (Label.OPEN, execution["opened_size"])]
        require_positive(closed_size=execution["closed_size"], opened_size=execution["opened_size"])
    elif direction in _OPENS:
        if Decimal(profit.quantity):
            raise NotATradeError(f"realized_pnl {profit.quantity} of an opened position")
        parts = [(Label.OPEN, size)]
    elif direction in _CLOSES or direction.startswith("Liquidated "):
        parts = [(Label.CLOSE, size)]
    else:
        raise NotATradeError(f"direction {direction or 'missing'}")
    require_positive(size=size)
    entries: list[Entry] = []
    for label, part_size in parts:
        suffix = f"-{label.name.lower()}" if len(parts) > 1 else ""
        entries.append(
            make_position(
                f"{execution['row_id']}{suffix}",
                execution["executed_at"],
                label,
                size=Amount(part_size, execution["asset"]),
                profit=Amount("0", profit.currency) if entries else profit,
                fee="0" if entries else fee.quantity,
                description=_describe(execution),
            )
        )
    return entries


def _require_profit(execution: Mapping[str, Any]) -> tuple[Amount, Amount]:
    """Return the profit before the fee, and the fee. The profit's token is the quote token, or else that of the fee."""
    if execution["realized_pnl"] is None or not Decimal(execution["realized_pnl"]).is_finite():
        raise NotATradeError(f"realized_pnl {execution['realized_pnl'] or 'missing'}")
    fee = _require_fee(execution)
    token = execution["quote_symbol"] or fee.currency
    if not token:
        raise NotATradeError("quote_symbol missing")
    if fee.currency != token and Decimal(fee.quantity):
        raise NotATradeError(f"fee in {fee.currency}, profit in {token}")
    return Amount(execution["realized_pnl"], token), Amount(fee.quantity, token)


def _require_fee(execution: Mapping[str, Any]) -> Amount:
    """Return the fee and its token, which is '' if the fee is 0 and has none."""
    fee, token = execution["fee"], execution["fee_token"]
    if fee is None or not Decimal(fee).is_finite():
        raise NotATradeError(f"fee {fee or 'missing'}")
    if Decimal(fee) and not token:
        raise NotATradeError("fee_token missing, or several tokens in one row")
    return Amount(fee, token or "")


def _refuse_rebate(fee: Amount) -> None:
    """Raise if the fee is negative: a column of fees has no form for a rebate."""
    if Decimal(fee.quantity) < 0:
        raise NotATradeError(f"fee {fee.quantity} is a rebate")


def _describe(execution: Mapping[str, Any]) -> str:
    """Return which fills a line contains."""
    count = execution["fill_count"]
    fills = f"{count:,} fill{'' if count == 1 else 's'}"
    direction = (
        "" if execution["is_spot"] else f", {execution['direction'] or 'direction unknown'} {execution['asset']}"
    )
    return f"Hyperliquid TWAP {execution['twap_id']}, {fills}{direction}"
