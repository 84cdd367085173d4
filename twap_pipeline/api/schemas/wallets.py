"""The totals of a wallet."""

from pydantic import Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.field_types import Asset, AveragePrice, Day, Decimal, Side, Symbol, Timestamp, Wallet


class AssetSummary(ApiModel):
    """The totals of a wallet's orders of one asset and side."""

    asset: Asset
    symbol: Symbol
    side: Side
    order_count: int
    running: int = Field(description="Orders without a terminal event in the data; the event can be lost.")
    finished: int
    terminated: int
    error: int
    underfilled_order_count: int = Field(description="Orders that ended with less executed than requested.")
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None
    average_price: AveragePrice


class DaySummary(ApiModel):
    """The totals of a wallet's orders whose last event is on a UTC day."""

    day: Day
    order_count: int
    notional_executed: Decimal


class AssetFills(ApiModel):
    """The totals of a wallet's fills of one asset, with fees in one token."""

    asset: Asset
    symbol: Symbol
    fill_count: int
    notional_filled: Decimal
    realized_pnl: Decimal | None
    fee: Decimal | None = Field(description="In `fee_token`.")
    fee_token: str | None


class WalletSummary(ApiModel):
    """The totals of a wallet's orders. Sizes are in coin units, so they cannot be added across assets."""

    wallet: Wallet
    start: Timestamp | None
    end: Timestamp | None
    order_count: int
    notional_executed: Decimal
    first_order_at: Timestamp | None
    last_event_at: Timestamp | None
    by_asset: list[AssetSummary]
    by_day: list[DaySummary] = Field(description="Days with orders, oldest first.")
    fills_by_asset: list[AssetFills] | None = Field(
        description="Totals of the fills whose time is in the range; null if the database contains no fills."
    )
    unavailable_metrics: list[str] = Field(
        description="Empty if the database contains fills.", examples=[["fees", "closed profit", "slices"]]
    )
