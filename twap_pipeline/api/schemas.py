"""The bodies of the API, as its OpenAPI document tells them; their kinds of values are in `vocabulary`.

PostgreSQL itself writes the rows as JSON (see `storage.queries`), so that a decimal or a raw payload is never read and
written again on its way; these models say what comes out, and tests hold the answers against them. Not here: how a
figure is computed.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from twap_pipeline.api.field_types import Asset, Day, Decimal, Minutes, Moment, Raw, Side, Status, WalletText


class ApiModel(BaseModel):
    """What every body is: exactly its keys."""

    model_config = ConfigDict(extra="forbid")


class InvalidParameter(ApiModel):
    """One parameter that cannot be used."""

    parameter: str
    fault: str


class ProblemBody(ApiModel):
    """A failure (RFC 9457)."""

    title: str
    status: int = Field(examples=[422])
    detail: str = Field(examples=["Mend what errors names."])
    request_id: str | None = Field(default=None, description="Also in X-Request-ID and the server's log.")
    errors: list[InvalidParameter] | None = None


class Executed(ApiModel):
    """What an event says of execution; 0 until the terminal event."""

    size: Decimal | None = Field(description="Coin units.")
    notional: Decimal | None = Field(description="USD, without fees: those are not in this feed.")


class Twap(ApiModel):
    """An order at its latest event, or one event of it."""

    twap_id: str = Field(examples=["1079490"])
    asset: Asset
    side: Side
    status: Status
    duration_minutes: Minutes
    latest_ts: Moment
    executed: Executed
    raw: Raw


class Twaps(ApiModel):
    """A page of a wallet's orders, or of their events."""

    wallet: WalletText
    start: Moment | None = Field(description="Beginning of the range, inside it; null when open.")
    end: Moment | None = Field(description="End of the range, outside it; null when open.")
    twaps: list[Twap]
    next_cursor: str | None = Field(description="Give it as cursor for the next page; null on the last.")


class Event(ApiModel):
    """One event of an order, as stored."""

    wallet: WalletText
    ts: Moment
    asset: Asset
    side: Side
    size_requested: Decimal | None = Field(description="Coin units.")
    size_executed: Decimal | None = Field(description="Coin units; 0 until the terminal event.")
    notional_executed: Decimal | None = Field(description="USD, without fees.")
    status: Status
    duration_minutes: Minutes
    raw: Raw


class TwapHistory(ApiModel):
    """Every event of an order, oldest first."""

    twap_id: str = Field(examples=["1079490"])
    rows: list[Event]


class AssetSummary(ApiModel):
    """A wallet's orders of one asset and side."""

    asset: Asset
    side: Side
    orders: int
    running: int = Field(description="Without an end in the data, lost ends among them.")
    finished: int
    terminated: int
    error: int
    is_underfilled: int = Field(description="Ended with less executed than ordered.")
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None
    average_price: Decimal | None = Field(description="Executed notional by executed size; null when nothing was.")


class WalletSummary(ApiModel):
    """A wallet's orders, added up. Sizes are in coins: never add them over assets."""

    wallet: WalletText
    start: Moment | None
    end: Moment | None
    orders: int
    notional_executed: Decimal
    first_order_at: Moment | None
    last_event_at: Moment | None
    by_asset: list[AssetSummary]
    unavailable_metrics: list[str] = Field(examples=[["fees", "closed profit", "slices"]])


class ActiveOrder(ApiModel):
    """An order without an end in the data."""

    twap_id: str
    wallet: WalletText
    asset: Asset
    side: Side
    status: Status
    size_requested: Decimal | None
    started_at: Moment | None
    duration_minutes: Minutes
    expected_end: Moment | None = Field(description="Start and ordered duration; null for an order that waits.")
    estimate_remaining_size: Decimal | None = Field(
        description="ESTIMATE: as if the order executed evenly over its duration. The feed tells executed sizes only"
        " at the end."
    )


class ActiveOrders(ApiModel):
    """Orders that should be running now, and apart from them those that should have ended."""

    as_of: Moment
    data_until: Moment | None = Field(description="The latest event known. Ends after it are not in the data yet.")
    grace_minutes: int
    active_count: int
    stale_count: int
    active: list[ActiveOrder]
    stale: list[ActiveOrder] = Field(
        description="Past their expected end and the grace: their end is late, lost, or outside the data."
    )
    estimate: Literal["linear"] = Field(description="How estimate_ fields were made.")


class HorizonPressure(ApiModel):
    """What active orders would still execute within a time from now, if they executed evenly."""

    horizon_minutes: int
    estimate_buy_size: Decimal
    estimate_sell_size: Decimal
    estimate_net_size: Decimal
    estimate_net_notional: Decimal | None = Field(description="USD at estimate_price; null without one.")


class AssetPressure(ApiModel):
    """One asset's pressure."""

    asset: Asset
    orders: int
    estimate_price: Decimal | None = Field(description="Of the order of this asset that ended last, within a week.")
    price_at: Moment | None
    horizons: list[HorizonPressure]


class Pressure(ApiModel):
    """Estimated net remaining volume of active orders by asset and horizon; buys are positive."""

    as_of: Moment
    data_until: Moment | None
    estimate: Literal["linear"]
    assets: list[AssetPressure]


class DailyStatsRow(ApiModel):
    """A day's orders of one asset, side and present status."""

    day: Day | None = Field(description="UTC day on which the orders started.")
    asset: Asset
    side: Side
    status: Status
    order_count: int
    wallet_count: int
    underfilled_order_count: int
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None


class DailyStats(ApiModel):
    """A page of daily figures."""

    start: Day
    end: Day
    days: list[DailyStatsRow]
    next_cursor: str | None


class CoverageDay(ApiModel):
    """The ledger's account of a UTC day of objects."""

    day: Day
    objects: int = Field(description="Objects whose rows are in the data; 0 is a gap.")
    failed: int = Field(description="Objects that could not be read; tried again.")
    parked: int = Field(description="Of the failed ones, those no longer tried.")
    rows_read: int
    rows_inserted: int = Field(description="Events that these objects were the first to bring.")
    rows_quarantined: int = Field(description="Rows that could not be read without loss; kept aside.")
    objects_pending_refresh: int = Field(description="Loaded, but their orders not yet brought up to date.")


class Coverage(ApiModel):
    """What the data hold, and what is missing."""

    start: Day | None = Field(
        description="First day that is to_json_value; the first with objects unless asked otherwise."
    )
    end: Day | None = Field(description="The day after the last; the day after the last with objects.")
    objects: int
    failed: int
    parked: int
    rows_read: int
    rows_inserted: int
    rows_quarantined: int
    objects_pending_refresh: int
    missing_days: list[Day] = Field(description="Days between first and last without any object: gaps in the data.")
    last_object_at: Moment | None = Field(description="LastModified of the newest object taken in.")
    last_ingested_at: Moment | None
    last_event_at: Moment | None
    days: list[CoverageDay]


class Health(ApiModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(ApiModel):
    """Whether requests can be served."""

    status: Literal["ready"]
    revision: str = Field(examples=["005"])
