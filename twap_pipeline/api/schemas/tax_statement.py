"""The accompanying statement of a tax file, read from the attributes of `exports.tax.statement.TaxStatement`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from twap_pipeline.api.schemas.base import ApiModel
from twap_pipeline.api.schemas.field_types import Decimal, Timestamp, TwapId, Wallet
from twap_pipeline.exports.csv_format import format_timestamp


class OrderStateBody(ApiModel):
    """An order whose fills do not, or not yet, add up to its executed totals."""

    twap_id: TwapId
    state: str = Field(examples=["missing_fills"])
    fill_count: int = Field(description="All fills of the order, also those outside of the range.")
    size_executed: Decimal | None = Field(description="Coin units, of the order.")
    size_filled: Decimal = Field(description="Coin units, sum of the fills.")
    notional_executed: Decimal | None = Field(description="Of the order, in the quote token.")
    notional_filled: Decimal = Field(description="Sum of price times size of the fills.")
    is_across_years: bool


class FeeSumBody(ApiModel):
    """The fees of a token. `fee` is in the file, and includes `builder_fee`; the others are not in the file."""

    token: str | None
    fee: Decimal | None
    builder_fee: Decimal | None
    deployer_fee: Decimal | None
    priority_fee: Decimal | None


class ProfitSumBody(ApiModel):
    """The realized profit of perpetuals in a token, before fees."""

    token: str | None
    realized_profit: Decimal | None


class TaxStatementBody(ApiModel):
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
