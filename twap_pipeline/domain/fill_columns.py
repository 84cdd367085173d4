"""Descriptions of the columns of ``twap_fills``. How they are read from an object belongs to `fills`."""

FILL_COLUMN_DESCRIPTIONS: dict[str, str] = {
    "trade_id": "Id of the trade, as digits; a trade has two sides, so that (trade_id, wallet) identifies a fill.",
    "wallet": "Owner of the order, 0x and 40 hex digits, lower case.",
    "twap_id": "Id of the order, as digits; joins twap_orders.",
    "ts": "Time of the execution, UTC, milliseconds.",
    "asset": "Coin or pair as the exchange writes it: BTC, xyz:MSFT, @107.",
    "market": "perp or spot.",
    "dex": "Name of the dex of a perpetual.",
    "base_symbol": "Readable symbol of what is bought or sold: BTC, MSFT, PURR.",
    "quote_symbol": "Readable symbol of what the price is in: USDC, USDT0, USDE, USDH.",
    "side": "buy or sell, as the source writes it; orders have B and A.",
    "direction": "What the fill did to the position: Open Long, Close Short, Buy, and others, verbatim.",
    "price": "Price of the fill, in the quote symbol, exact.",
    "size": "Size of the fill, coin units, exact.",
    "realized_pnl": "Realized profit or loss of the part of a position that the fill closed, exact.",
    "start_position": "Position before the fill, coin units, exact.",
    "fee": "Fee of the fill, in fee_token, exact; negative for a rebate.",
    "fee_token": "Token in which the fee is paid.",
    "builder_fee": "Part of the fee that the builder received, exact.",
    "deployer_fee": "Part of the fee that the deployer of the market received, exact.",
    "priority_fee": "Fee for priority, exact.",
    "order_id": "Id of the slice that was filled, as digits.",
    "is_taker": "The fill took liquidity.",
    "other_fields": "The other columns of the source row as JSON.",
}
"""Column, in table order → description."""
