"""Factories of fills, for tests: a row as in an object of the feed, with the types of the vendor's documentation."""

from datetime import timedelta
from decimal import Decimal

import polars as pl

from twap_pipeline_tests.factories import NOON, WALLET

DECIMAL = pl.Decimal(20, 10)
SCHEMA: dict[str, pl.DataType] = {
    "coin": pl.String(),
    "dex": pl.String(),
    "asset_class": pl.String(),
    "base_symbol": pl.String(),
    "quote_symbol": pl.String(),
    "price": DECIMAL,
    "size": DECIMAL,
    "side": pl.String(),
    "timestamp": pl.Datetime("ms", "UTC"),
    "direction": pl.String(),
    "realized_pnl": DECIMAL,
    "start_position": DECIMAL,
    "fee": DECIMAL,
    "fee_token": pl.String(),
    "tx_hash": pl.String(),
    "order_id": pl.UInt64(),
    "trade_id": pl.UInt64(),
    "address": pl.String(),
    "crossed": pl.Boolean(),
    "client_order_id": pl.String(),
    "builder": pl.String(),
    "builder_fee": DECIMAL,
    "deployer_fee": DECIMAL,
    "priority_gas": DECIMAL,
    "twap_id": pl.UInt64(),
}
"""Column of the feed → its type."""


def fill(
    trade_id: int, *, twap_id: int | None = 1, size: str = "1", price: str = "50", **others: object
) -> dict[str, object]:
    """Return a fill of an order of `factories.event`, one second per trade id after `NOON`."""
    return {
        "coin": "HYPE",
        "dex": "hyperliquid",
        "asset_class": "perp",
        "base_symbol": "HYPE",
        "quote_symbol": "USDC",
        "price": Decimal(price),
        "size": Decimal(size),
        "side": "buy",
        "timestamp": NOON + timedelta(seconds=trade_id),
        "direction": "Open Long",
        "realized_pnl": Decimal(0),
        "start_position": Decimal(0),
        "fee": Decimal("0.0175"),
        "fee_token": "USDC",
        "tx_hash": "0x" + "0" * 64,
        "order_id": 9_000_000_000 + trade_id,
        "trade_id": trade_id,
        "address": WALLET,
        "crossed": True,
        "client_order_id": None,
        "builder": None,
        "builder_fee": None,
        "deployer_fee": None,
        "priority_gas": None,
        "twap_id": twap_id,
        **others,
    }


def fill_frame(*rows: dict[str, object]) -> pl.DataFrame:
    """Return fills as a frame with the types of the feed."""
    return pl.DataFrame(list(rows), schema=SCHEMA)
