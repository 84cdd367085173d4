"""The reconciliation of orders with their fills."""

from pydantic import Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.field_types import (
    Asset,
    Decimal,
    NextCursor,
    ReconciliationState,
    Symbol,
    Timestamp,
    TwapId,
    WalletAsStored,
)


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
