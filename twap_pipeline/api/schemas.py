"""The response models of the API, for its OpenAPI document. The types of their fields are in `field_types`.

PostgreSQL writes most response bodies as JSON text (see `queries`), so these models do not serialize them. Tests
validate responses against the models.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from twap_pipeline.api.field_types import (
    Asset,
    AveragePrice,
    Day,
    Decimal,
    DurationMinutes,
    MarketName,
    NextCursor,
    Raw,
    ReconciliationState,
    Side,
    Status,
    Symbol,
    Timestamp,
    TwapId,
    Wallet,
    WalletAsStored,
)
from twap_pipeline.exports.csv_format import format_timestamp


class ApiModel(BaseModel):
    """A JSON object without further keys."""

    model_config = ConfigDict(extra="forbid")


class InvalidParameter(ApiModel):
    """One invalid parameter."""

    parameter: str
    message: str


class ProblemBody(ApiModel):
    """An error (RFC 9457)."""

    title: str
    status: int = Field(examples=[422])
    detail: str = Field(examples=["Fix the parameters listed in `errors`."])
    request_id: str | None = Field(default=None, description="Also in X-Request-ID and in the server's log.")
    errors: list[InvalidParameter] | None = None


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
    side: Side
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


class ReconciledOrder(ApiModel):
    """An order, or the fills of an unknown order, with both totals."""

    twap_id: TwapId
    wallet: WalletAsStored
    asset: Asset
    symbol: Symbol
    state: ReconciliationState
    at: Timestamp = Field(description="Time of the last event; without an order, of the last fill.")
    ended_at: Timestamp | None
    fill_count: int
    size_executed: Decimal | None
    size_filled: Decimal
    notional_executed: Decimal | None
    notional_filled: Decimal


class ReconciledOrders(ApiModel):
    """A page of the orders in a state, earliest first."""

    orders: list[ReconciledOrder]
    next_cursor: NextCursor


class Reconciliation(ApiModel):
    """Orders of a range by state."""

    start: Timestamp
    end: Timestamp
    has_fills: bool = Field(description="Whether the database contains any fill.")
    states: dict[ReconciliationState, int] = Field(description="Number of orders by state; every state is a key.")


class Events(ApiModel):
    """A page of events, earliest first."""

    events: list[Event]
    next_cursor: str | None = Field(
        description="Value of `cursor` for the next page, or for later events if `has_more` is false; null if no event"
        " was read."
    )
    has_more: bool = Field(description="Whether the next page can have events now.")


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
    fills_by_asset: list[AssetFills] | None = Field(
        description="Totals of the fills whose time is in the range; null if the database contains no fills."
    )
    unavailable_metrics: list[str] = Field(
        description="Empty if the database contains fills.", examples=[["fees", "closed profit", "slices"]]
    )


class WalletRank(ApiModel):
    """The executed orders of a wallet in a range."""

    wallet: WalletAsStored
    order_count: int = Field(description="Orders that executed something.")
    asset_count: int
    notional_executed: Decimal = Field(description="USD, without fees.")
    notional_bought: Decimal
    notional_sold: Decimal


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


class CoverageDay(ApiModel):
    """The ingest log's row counts for the objects of one UTC day."""

    day: Day
    objects: int = Field(description="Ingested objects; 0 is a gap.")
    failed: int = Field(description="Objects whose ingestion failed.")
    parked: int = Field(description="Failed objects that are no longer retried.")
    rows_read: int
    rows_inserted: int = Field(description="Events that no earlier object contained.")
    rows_quarantined: int = Field(description="Rows that could not be parsed without loss; they are in the quarantine.")
    objects_pending_refresh: int = Field(description="Ingested objects that are not yet in `twap_orders`.")
    fill_objects: int = Field(description="Ingested objects of fills.")
    fill_objects_failed: int
    fill_rows: int = Field(description="Rows of these objects.")


class Coverage(ApiModel):
    """The data coverage: what was ingested, and what is missing."""

    start: Day | None = Field(description="First day; by default the first day with objects.")
    end: Day | None = Field(description="Day after the last day; by default the day after the last with objects.")
    objects: int
    failed: int
    parked: int
    rows_read: int
    rows_inserted: int
    rows_quarantined: int
    objects_pending_refresh: int
    missing_days: list[Day] = Field(description="Days without ingested objects between the first and the last day.")
    days_without_fills: list[Day] | None = Field(
        description="Days with objects of statuses, but none of fills; null if no object of fills was ingested."
    )
    last_object_at: Timestamp | None = Field(description="LastModified of the newest ingested object.")
    last_ingested_at: Timestamp | None
    last_event_at: Timestamp | None
    archived_months: list[str] = Field(
        description="Months whose events are in files: routes of events do not return them, orders are complete.",
        examples=[["2025-03"]],
    )
    days: list[CoverageDay]


class Readiness(ApiModel):
    """The API can serve requests."""

    status: Literal["ready"]
    revision: str = Field(description="Alembic revision of the database.", examples=["008"])


class StatementModel(ApiModel):
    """A part of a tax statement, read from the attributes of an object."""

    model_config = ConfigDict(from_attributes=True)


class OrderStateBody(StatementModel):
    """An order whose fills do not, or not yet, add up to its executed totals."""

    twap_id: TwapId
    state: str = Field(examples=["missing_fills"])
    fill_count: int = Field(description="All fills of the order, also those outside of the range.")
    size_executed: Decimal | None = Field(description="Coin units, of the order.")
    size_filled: Decimal = Field(description="Coin units, sum of the fills.")
    notional_executed: Decimal | None = Field(description="Of the order, in the quote token.")
    notional_filled: Decimal = Field(description="Sum of price times size of the fills.")
    is_across_years: bool


class FeeSumBody(StatementModel):
    """The fees of a token. `fee` is in the file, and includes `builder_fee`; the others are not in the file."""

    token: str | None
    fee: Decimal | None
    builder_fee: Decimal | None
    deployer_fee: Decimal | None
    priority_fee: Decimal | None


class ProfitSumBody(StatementModel):
    """The realized profit of perpetuals in a token, before fees."""

    token: str | None
    realized_profit: Decimal | None


class TaxStatementBody(StatementModel):
    """The accompanying statement of a tax file. Sums are those of the orders in the file."""

    tool: str = Field(examples=["Koinly"])
    wallet: Wallet
    market: Literal["spot", "perp", "all"]
    rows: Literal["orders", "days", "fills"] = Field(description="What a row of the file is.")
    start: Annotated[Timestamp | None, BeforeValidator(format_timestamp)]
    end: Annotated[Timestamp | None, BeforeValidator(format_timestamp)] = Field(description="Exclusive.")
    is_complete: bool = Field(description="Whether the file can be written without leaving out orders.")
    line_count: int = Field(description="Rows of the file, without the header.")
    order_count: int = Field(description="Orders in the file.")
    orders_by_state: dict[str, int] = Field(description="State of reconciliation → number of orders of the range.")
    orders_not_reconciled: list[OrderStateBody]
    orders_across_years: list[TwapId]
    skipped_orders: dict[str, str] = Field(description="Order → why it cannot be in the file.")
    fees: list[FeeSumBody]
    realized_profits: list[ProfitSumBody]
    notes: list[str] = Field(description="Warnings, and what the file does not contain.")
