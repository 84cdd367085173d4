"""A selection of orders: filters, range and sort key of the list of orders. `order_list` builds its statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from twap_pipeline.domain.symbols import Market

Sort = Literal["twap_id", "ended", "notional"]
TimeField = Literal["started", "ended", "updated"]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """A selection of orders. None selects all.

    Args:
        wallets: Lower case; empty for all wallets.
        asset: As the exchange writes it.
        side: ``A`` or ``B``.
        status: The order's current status.
        market: ``spot`` or ``perp``.
        notional_min: Smallest executed notional, USD.
        time_field: The time that the range applies to: start, terminal event, or last event.
        start: Beginning of the range, inclusive.
        end: End of the range, exclusive.
    """

    wallets: Sequence[str] = ()
    asset: str | None = None
    side: str | None = None
    status: str | None = None
    market: Market | None = None
    notional_min: Decimal | None = None
    time_field: TimeField = "started"
    start: datetime | None = None
    end: datetime | None = None

    @property
    def has_range(self) -> bool:
        """Whether a bound of the range is set."""
        return self.start is not None or self.end is not None

    def is_in_key_order(self, sort: Sort) -> bool:
        """Return whether a page reads orders in the order of its key, and not all orders of the range."""
        is_range_of_key = sort == "ended" and self.time_field != "started"
        return sort != "notional" and (bool(self.wallets) or not self.has_range or is_range_of_key)
