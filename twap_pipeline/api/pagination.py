"""Cursors: the key of a page's last row, as base64url JSON. The next page begins after this key.

A cursor is not secret and not signed. A forged cursor can only select rows that the caller may read anyway.
"""

import base64
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Row

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.queries.order_list import Sort

INVALID_CURSOR = Problem(
    400, "Invalid cursor", "Pass `next_cursor` of the previous page unchanged, or omit `cursor` to start again."
)
_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class Cursor(BaseModel):
    """The key of a row; each subclass declares the columns of one list."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def of(cls, row: Row[Any], prefix: str = "") -> Self:
        """Return the key of a row, whose columns are named like the fields, with a prefix."""
        return cls(**{name: row._mapping[prefix + name] for name in cls.model_fields})

    def encode(self) -> str:
        """Return the cursor's text."""
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the key that a cursor contains.

        Raises:
            ProblemError: 400, the text is not a cursor of this list.
        """
        try:
            return cls.model_validate_json(
                base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            )
        except (ValueError, ValidationError) as error:
            raise ProblemError(INVALID_CURSOR) from error


class OrderCursor(Cursor):
    """The key of an order in a list by ``twap_id``."""

    digits: Annotated[int, Field(ge=-1, le=2**31 - 1)]
    twap_id: _Text
    wallet: _Text

    @property
    def key(self) -> tuple[Any, ...]:
        """The key as the statement expects it."""
        return self.digits, self.twap_id, self.wallet


class EndedOrderCursor(OrderCursor):
    """The key of an order in a list by the time of its end."""

    sort_value: AwareDatetime

    @property
    def key(self) -> tuple[Any, ...]:
        """The key as the statement expects it."""
        return self.sort_value, self.digits, self.twap_id, self.wallet


class NotionalOrderCursor(OrderCursor):
    """The key of an order in a list by executed notional."""

    sort_value: Annotated[Decimal, Field(ge=-1, max_digits=1000, allow_inf_nan=False)]

    @property
    def key(self) -> tuple[Any, ...]:
        """The key as the statement expects it."""
        return self.sort_value, self.digits, self.twap_id, self.wallet


ORDER_CURSORS: dict[Sort, type[OrderCursor]] = {
    "twap_id": OrderCursor,
    "ended": EndedOrderCursor,
    "notional": NotionalOrderCursor,
}
"""The cursor of each sort key of orders."""


class EventCursor(Cursor):
    """The key of an event in the list of all events."""

    ts: AwareDatetime
    twap_id: _Text
    wallet: _Text

    @property
    def key(self) -> tuple[datetime, str, str]:
        """The key as the statement expects it."""
        return self.ts, self.twap_id, self.wallet


class HistoryCursor(Cursor):
    """The key of an event in the history of an order."""

    wallet: _Text
    ts: AwareDatetime

    @property
    def key(self) -> tuple[str, datetime]:
        """The key as the statement expects it."""
        return self.wallet, self.ts


class FillCursor(Cursor):
    """The key of a fill of an order."""

    wallet: _Text
    ts: AwareDatetime
    trade_id: _Text

    @property
    def key(self) -> tuple[str, datetime, str]:
        """The key as the statement expects it."""
        return self.wallet, self.ts, self.trade_id


class ReconciliationCursor(Cursor):
    """The key of an order in the list of a reconciliation state."""

    at: AwareDatetime
    twap_id: _Text
    wallet: _Text

    @property
    def key(self) -> tuple[datetime, str, str]:
        """The key as the statement expects it."""
        return self.at, self.twap_id, self.wallet


class DailyStatsCursor(Cursor):
    """The key of a row of the daily statistics; NULL is ''."""

    day: date
    asset: _Text
    side: _Text
    status: _Text

    @property
    def key(self) -> tuple[date, str, str, str]:
        """The key as the statement expects it."""
        return self.day, self.asset, self.side, self.status
