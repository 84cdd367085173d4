"""The response models of ``/api/v1``: the keys of the original service. Further keys may be added, none removed."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from twap_pipeline.api.schemas.field_types import Asset, Decimal, DurationMinutes, Side, Status

Timestamp = Annotated[str, Field(description="ISO 8601, UTC.", examples=["2025-08-26T15:25:54.579723Z"])]
Raw = Annotated[dict[str, Any], Field(description="The source row.")]


class ExecutedAmounts(BaseModel):
    """The execution as of an event; 0 until the terminal event."""

    size: Decimal | None
    notional: Decimal | None


class WalletTwap(BaseModel):
    """An order at its latest event in the range."""

    twap_id: str
    asset: Asset
    side: Side
    status: Status
    duration_minutes: DurationMinutes
    latest_ts: Timestamp
    executed: ExecutedAmounts
    raw: Annotated[
        dict[str, Any],
        Field(description='The source row; with `latest_per_twap=false`: `{"latest": {…}, "all_rows": […]}`.'),
    ]


class WalletTwaps(BaseModel):
    """A page of a wallet's orders."""

    wallet: str = Field(description="As requested.")
    start: Timestamp
    end: Timestamp
    twaps: list[WalletTwap]


class TwapRow(BaseModel):
    """One event of an order."""

    wallet: str
    ts: Timestamp
    asset: Asset
    side: Side
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None
    status: Status
    duration_minutes: DurationMinutes
    raw: Raw


class WholeTwap(BaseModel):
    """All events of an order, latest first."""

    twap_id: str
    rows: list[TwapRow]


class InvalidField(BaseModel):
    """One invalid parameter, as FastAPI describes it."""

    type: str
    loc: list[str | int]
    msg: str


class ValidationDetail(BaseModel):
    """A request with invalid parameters."""

    detail: list[InvalidField]
