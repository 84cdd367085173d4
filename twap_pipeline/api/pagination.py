"""Cursors: the key of a page's last row, as base64url JSON. The next page begins after this key.

A cursor is not secret and not signed. A forged cursor can only select rows that the caller may read anyway.
"""

import base64
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Row

from twap_pipeline.api.errors import Problem, ProblemError
from twap_pipeline.api.queries.order_list import Sort

INVALID_CURSOR = Problem(
    400, "Invalid cursor", "Pass `next_cursor` of the previous page unchanged, or omit `cursor` to start again."
)
_Digits = Annotated[int, Field(ge=-1, le=2**31 - 1)]
_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class Cursor(BaseModel):
    """The key of a row; each subclass declares the columns of one list, in the order of the key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def of(cls, row: Row[Any], prefix: str = "") -> Self:
        """Return the key of a row, whose columns are named like the fields, with a prefix."""
        return cls(**{name: row._mapping[prefix + name] for name in cls.model_fields})

    @property
    def key(self) -> tuple[Any, ...]:
        """The key as the statement expects it."""
        return tuple(getattr(self, name) for name in type(self).model_fields)

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

    digits: _Digits
    twap_id: _Text
    wallet: _Text


class EndedOrderCursor(Cursor):
    """The key of an order in a list by the time of its end."""

    sort_value: AwareDatetime
    digits: _Digits
    twap_id: _Text
    wallet: _Text


class NotionalOrderCursor(Cursor):
    """The key of an order in a list by executed notional."""

    sort_value: Annotated[Decimal, Field(ge=-1, max_digits=1000, allow_inf_nan=False)]
    digits: _Digits
    twap_id: _Text
    wallet: _Text


ORDER_CURSORS: dict[Sort, type[Cursor]] = {
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


class HistoryCursor(Cursor):
    """The key of an event in the history of an order."""

    wallet: _Text
    ts: AwareDatetime


class FillCursor(Cursor):
    """The key of a fill of an order."""

    wallet: _Text
    ts: AwareDatetime
    trade_id: _Text


class ReconciliationCursor(Cursor):
    """The key of an order in the list of a reconciliation state."""

    at: AwareDatetime
    twap_id: _Text
    wallet: _Text


class DailyStatsCursor(Cursor):
    """The key of a row of the daily statistics; NULL is ''."""

    day: date
    asset: _Text
    side: _Text
    status: _Text
