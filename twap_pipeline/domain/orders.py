"""Columns of ``twap_orders`` and ``twap_daily_stats``, with their descriptions.

The columns of events belong in ``domain.status``; the SQL that computes orders belongs in ``storage.orders``.
"""

from twap_pipeline.domain.status import CONTENT_COLUMN_DESCRIPTIONS, KEY_COLUMN_DESCRIPTIONS

ORDER_COLUMNS: dict[str, str] = {
    "twap_id": KEY_COLUMN_DESCRIPTIONS["twap_id"],
    "wallet": KEY_COLUMN_DESCRIPTIONS["wallet"],
    "asset": CONTENT_COLUMN_DESCRIPTIONS["asset"],
    "side": CONTENT_COLUMN_DESCRIPTIONS["side"],
    "size_requested": CONTENT_COLUMN_DESCRIPTIONS["size_requested"],
    "size_executed": "Final executed size, coin units, exact; 0 while the order runs (the feed has no progress).",
    "notional_executed": CONTENT_COLUMN_DESCRIPTIONS["notional_executed"],
    "fill_ratio": "size_executed / size_requested, 0 to 1, rounded to about 20 digits.",
    "average_price": "notional_executed / size_executed, USD per coin, rounded; NULL if the executed size is 0.",
    "is_underfilled": "The order ended with size_executed < size_requested.",
    "status": CONTENT_COLUMN_DESCRIPTIONS["status"],
    "status_error": CONTENT_COLUMN_DESCRIPTIONS["status_error"],
    "last_status_at": "Time of the event from which status and figures are taken.",
    "started_at": "Creation time, or else activation time; NULL if no event contains either.",
    "start_date": "UTC day of started_at, or else of first_event_at.",
    "ended_at": "Time of the terminal event; NULL while the order runs, or if that event is missing.",
    "duration_minutes": CONTENT_COLUMN_DESCRIPTIONS["duration_minutes"],
    "reduce_only": CONTENT_COLUMN_DESCRIPTIONS["reduce_only"],
    "randomize": CONTENT_COLUMN_DESCRIPTIONS["randomize"],
    "event_count": "Number of events of the order in twap_status.",
    "first_event_at": "Time of the first event.",
    "first_object_key": "Key of the object that contains the first event.",
    "last_object_key": "Key of the object that contains the last event.",
    "refreshed_at": "Time of the last write of this row.",
}
"""Column of ``twap_orders`` → description, in table order."""

DAILY_STATS_COLUMNS: dict[str, str] = {
    "day": "UTC day on which the orders started.",
    "asset": CONTENT_COLUMN_DESCRIPTIONS["asset"],
    "side": CONTENT_COLUMN_DESCRIPTIONS["side"],
    "status": "Current status of the orders.",
    "order_count": "Number of orders.",
    "wallet_count": "Number of wallets of these orders.",
    "underfilled_order_count": "Number of orders that ended with size_executed < size_requested.",
    "size_requested": "Sum of the requested sizes, coin units, exact.",
    "size_executed": "Sum of the executed sizes, coin units, exact.",
    "notional_executed": "Sum of the executed notional, USD, exact.",
}
"""Column of ``twap_daily_stats`` → description, in table order."""
