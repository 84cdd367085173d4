"""What one order is, over all of its events, and what a day's figures are: the columns and their meaning.

How they are made from events is ``storage.twap_orders``; the events' own vocabulary is ``twap_status``.
"""

from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMN_DESCRIPTIONS

ORDER_COLUMNS: dict[str, str] = {
    "twap_id": KEY_COLUMN_DESCRIPTIONS["twap_id"],
    "wallet": KEY_COLUMN_DESCRIPTIONS["wallet"],
    "asset": CONTENT_COLUMNS["asset"],
    "side": CONTENT_COLUMNS["side"],
    "size_requested": CONTENT_COLUMNS["size_requested"],
    "size_executed": "Size executed in the end, coin units, exact; 0 while the order runs: the feed tells no progress.",
    "notional_executed": CONTENT_COLUMNS["notional_executed"],
    "fill_ratio": "size_executed / size_requested, 0 to 1, rounded to some 20 digits.",
    "average_price": "notional_executed / size_executed, USD for a coin, rounded; NULL when nothing executed.",
    "is_underfilled": "The order ended with less executed than requested.",
    "status": CONTENT_COLUMNS["status"],
    "status_error": CONTENT_COLUMNS["status_error"],
    "last_status_at": "When it came to this status: the time of the event that the figures are from.",
    "started_at": "When the order was created, else when it was activated; NULL where no event tells.",
    "start_date": "UTC day of started_at, else of first_event_at.",
    "ended_at": "Time of the terminal event; NULL while the order runs, or where that event is missing.",
    "duration_minutes": CONTENT_COLUMNS["duration_minutes"],
    "reduce_only": CONTENT_COLUMNS["reduce_only"],
    "randomize": CONTENT_COLUMNS["randomize"],
    "event_count": "Events of the order in twap_status.",
    "first_event_at": "Time of its first event.",
    "first_object_key": "The object that holds its first event.",
    "last_object_key": "The object that holds its last event.",
    "refreshed_at": "When this row was last written.",
}
"""The columns of ``twap_orders``, in order, with their meaning."""

DAILY_STATS_COLUMNS: dict[str, str] = {
    "day": "UTC day on which the orders started.",
    "asset": CONTENT_COLUMNS["asset"],
    "side": CONTENT_COLUMNS["side"],
    "status": "Status that the orders have now.",
    "order_count": "Orders.",
    "wallet_count": "Wallets that placed them.",
    "underfilled_order_count": "Orders that ended with less executed than requested.",
    "size_requested": "Sum of the sizes ordered, coin units, exact.",
    "size_executed": "Sum of the sizes executed, coin units, exact.",
    "notional_executed": "Sum of the executed notional, USD, exact.",
}
"""The columns of ``twap_daily_stats``, in order, with their meaning."""
