"""Orders, their events and their fills."""

from pydantic import Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.field_types import (
    Asset,
    AveragePrice,
    Decimal,
    DurationMinutes,
    FillSide,
    MarketName,
    NextCursor,
    Raw,
    ReconciliationState,
    Side,
    Status,
    Symbol,
    Timestamp,
    TwapId,
    WalletAsStored,
)


class FillTotals(ApiModel):
    """The sums of an order's fills. They differ from the executed totals while fills are missing."""

    fill_count: int
    size_filled: Decimal = Field(description="Coin units.")
    notional_filled: Decimal = Field(description="Sum of price times size, USD, without fees.")
    average_price: AveragePrice
    first_fill_at: Timestamp | None
    last_fill_at: Timestamp | None
    realized_pnl: Decimal | None = Field(description="Of the closed parts; null if a fill does not state it.")
    fee: Decimal | None = Field(description="In `fee_token`; null if the fees are paid in several tokens.")
    fee_token: str | None
    reconciliation: ReconciliationState


class Order(ApiModel):
    """An order with its current status."""

    twap_id: TwapId
    wallet: WalletAsStored
    asset: Asset
    symbol: Symbol
    market: MarketName
    side: Side
    status: Status
    status_error: str | None = Field(
        description="Message that the exchange sent with the status, usually with `error`."
    )
    size_requested: Decimal | None = Field(description="Coin units.")
    size_executed: Decimal | None = Field(description="Coin units; 0 until the order ends.")
    notional_executed: Decimal | None = Field(description="USD, without fees; 0 until the order ends.")
    average_price: AveragePrice
    is_underfilled: bool | None = Field(description="Whether the order ended with less executed than requested.")
    started_at: Timestamp | None
    ended_at: Timestamp | None = Field(description="Time of the terminal event; null if the data contain none.")
    last_status_at: Timestamp = Field(description="Time of the event that determines the status.")
    duration_minutes: DurationMinutes
    reduce_only: bool | None
    randomize: bool | None
    event_count: int
    first_object_key: str = Field(description="Object that contains the first event.")
    last_object_key: str
    fills: FillTotals | None = Field(
        default=None,
        description="Only of a single order, and of a list with `include=fills`; null if the database has no fills.",
    )


class Orders(ApiModel):
    """A page of orders."""

    orders: list[Order]
    next_cursor: NextCursor


class Event(ApiModel):
    """One event of an order, as stored."""

    twap_id: TwapId
    wallet: WalletAsStored
    ts: Timestamp
    asset: Asset
    symbol: Symbol
    market: MarketName
    side: Side
    status: Status
    status_error: str | None = Field(
        description="Message that the exchange sent with the status, usually with `error`."
    )
    size_requested: Decimal | None = Field(description="Coin units.")
    size_executed: Decimal | None = Field(description="Coin units; 0 until the terminal event.")
    notional_executed: Decimal | None = Field(description="USD, without fees.")
    average_price: AveragePrice
    started_at: Timestamp | None
    duration_minutes: DurationMinutes
    reduce_only: bool | None
    randomize: bool | None
    object_key: str = Field(description="Object that contains the event.")
    raw: Raw


class Events(ApiModel):
    """A page of events, earliest first."""

    events: list[Event]
    next_cursor: str | None = Field(
        description="Value of `cursor` for the next page, or for later events if `has_more` is false; null if no event"
        " was read."
    )
    has_more: bool = Field(description="Whether the next page can have events now.")


class OrderHistory(ApiModel):
    """An order, and a page of its events, oldest first."""

    twap_id: TwapId
    orders: list[Order] = Field(description="One order; more only if the data contain several wallets with the ID.")
    events: list[Event]
    next_cursor: NextCursor


class Fill(ApiModel):
    """One slice of an order, as the vendor's files contain it."""

    trade_id: str = Field(description="ID of the trade; with the wallet it identifies the fill.")
    twap_id: TwapId
    wallet: WalletAsStored
    ts: Timestamp
    asset: Asset
    symbol: Symbol
    market: MarketName
    dex: str | None
    side: FillSide
    direction: str | None = Field(examples=["Open Long"])
    price: Decimal
    size: Decimal = Field(description="Coin units.")
    notional: Decimal = Field(description="Price times size, USD.")
    realized_pnl: Decimal | None = Field(description="Of the closed part.")
    start_position: Decimal | None = Field(description="Position before the fill, coin units.")
    fee: Decimal | None = Field(description="In `fee_token`; negative for a rebate.")
    fee_token: str | None
    builder_fee: Decimal | None
    deployer_fee: Decimal | None
    priority_fee: Decimal | None
    order_id: str | None
    is_taker: bool | None
    object_key: str = Field(description="Object that contains the fill.")


class Fills(ApiModel):
    """A page of an order's fills, oldest first."""

    fills: list[Fill]
    next_cursor: NextCursor
