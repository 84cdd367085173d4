"""Orders of all wallets: leaderboard, active orders, pressure, daily statistics."""

from typing import Literal

from pydantic import Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.field_types import (
    Asset,
    Day,
    Decimal,
    DurationMinutes,
    NextCursor,
    Side,
    Status,
    Symbol,
    Timestamp,
    TwapId,
    WalletAsStored,
)


class TokenFills(ApiModel):
    """The totals of a wallet's fills in a range, with fees in one token."""

    fee_token: str | None
    fill_count: int
    notional_filled: Decimal = Field(description="Sum of price times size, without fees.")
    fee: Decimal | None = Field(description="In `fee_token`; null if a fill does not state it.")
    realized_pnl: Decimal | None = Field(description="Of the closed parts; null if a fill does not state it.")


class WalletRank(ApiModel):
    """The executed orders of a wallet in a range."""

    wallet: WalletAsStored
    order_count: int = Field(description="Orders that executed something.")
    asset_count: int
    notional_executed: Decimal = Field(description="USD, without fees.")
    notional_bought: Decimal
    notional_sold: Decimal
    fills: list[TokenFills] | None = Field(
        description="With `include=fills`: of the fills whose time is in the range, highest notional first; null if the"
        " database contains no fills."
    )


class Leaderboard(ApiModel):
    """Wallets by executed notional, highest first."""

    start: Timestamp
    end: Timestamp
    wallets: list[WalletRank]


class ActiveOrder(ApiModel):
    """An order without a terminal event in the data."""

    twap_id: TwapId
    wallet: WalletAsStored
    asset: Asset
    symbol: Symbol
    side: Side
    status: Status
    size_requested: Decimal | None
    started_at: Timestamp | None
    duration_minutes: DurationMinutes
    expected_end: Timestamp | None = Field(
        description="Start plus planned duration; null if the order waits for its trigger."
    )
    estimate_remaining_size: Decimal | None = Field(
        description="ESTIMATE: assumes that the order executes evenly over its duration. The feed reports executed"
        " sizes only when an order ends."
    )


class ActiveOrders(ApiModel):
    """Active orders, and separately the stale orders, which should have ended."""

    as_of: Timestamp
    data_until: Timestamp | None = Field(description="Time of the latest event in the data.")
    grace_minutes: int = Field(description="Minutes after its expected end at which an order becomes stale.")
    active_count: int
    stale_count: int
    active: list[ActiveOrder]
    stale: list[ActiveOrder] = Field(
        description="Orders past their expected end by more than `grace_minutes`. Their terminal event is late, lost,"
        " or outside the data."
    )
    estimate_method: Literal["linear"] = Field(description="How the `estimate_` fields are computed.")


class HorizonPressure(ApiModel):
    """The volume that active orders would execute within a horizon if each executed evenly."""

    horizon_minutes: int
    estimate_buy_size: Decimal
    estimate_sell_size: Decimal
    estimate_net_size: Decimal
    estimate_net_notional: Decimal | None = Field(description="USD at `estimate_price`; null if that is null.")


class AssetPressure(ApiModel):
    """The pressure of one asset."""

    asset: Asset
    symbol: Symbol
    order_count: int
    estimate_price: Decimal | None = Field(
        description="Average price of the asset's order that ended last, within seven days."
    )
    price_at: Timestamp | None
    horizons: list[HorizonPressure]


class Pressure(ApiModel):
    """Estimated net volume that active orders would still execute, by asset and horizon; buys are positive."""

    as_of: Timestamp
    data_until: Timestamp | None
    estimate_method: Literal["linear"]
    assets: list[AssetPressure]


class PressureHour(ApiModel):
    """The volume that the orders running at an hour would have executed within the horizon."""

    hour: Timestamp
    order_count: int
    estimate_buy_size: Decimal
    estimate_sell_size: Decimal
    estimate_net_size: Decimal
    estimate_net_notional: Decimal | None = Field(
        description="USD at the average price of the asset's orders that ended on the day; null if there is none."
    )


class PressureHistory(ApiModel):
    """The pressure of one asset by hour, an estimate from the complete history."""

    asset: str
    start: Timestamp
    end: Timestamp
    horizon_minutes: int
    estimate_method: Literal["linear"]
    hours: list[PressureHour]


class DailyStatsRow(ApiModel):
    """The totals of the orders of one day, asset, side and current status."""

    day: Day | None = Field(description="UTC day on which the orders started.")
    asset: Asset
    symbol: Symbol
    side: Side
    status: Status
    order_count: int
    wallet_count: int
    underfilled_order_count: int
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None


class DailyStats(ApiModel):
    """A page of daily statistics."""

    start: Day
    end: Day
    days: list[DailyStatsRow]
    next_cursor: NextCursor
