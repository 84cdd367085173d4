"""Columns of ``twap_orders`` and ``twap_daily_stats``, with their descriptions and source columns.

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

_SAME_NAME = (
    "twap_id",
    "wallet",
    "asset",
    "side",
    "size_requested",
    "size_executed",
    "notional_executed",
    "status",
    "status_error",
    "duration_minutes",
    "reduce_only",
    "randomize",
)

ORDER_SOURCES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in _SAME_NAME},
    "average_price": ("notional_executed", "size_executed"),
    "is_underfilled": ("ts", "status", "size_executed", "size_requested"),
    "last_status_at": ("ts",),
    "started_at": ("started_at", "ts", "status"),
    "start_date": ("started_at", "ts", "status"),
    "ended_at": ("ts", "status"),
    "event_count": ("twap_id", "wallet"),
    "first_event_at": ("ts",),
    "first_object_key": ("s3_object_key",),
    "last_object_key": ("s3_object_key",),
}
"""Column of ``twap_orders`` → columns of ``twap_status`` that its value is computed from."""

DAILY_STATS_SOURCES: dict[str, tuple[str, ...]] = {
    "day": ("start_date",),
    "asset": ("asset",),
    "side": ("side",),
    "status": ("status",),
    "order_count": ("twap_id", "wallet"),
    "wallet_count": ("wallet",),
    "underfilled_order_count": ("is_underfilled",),
    "size_requested": ("size_requested",),
    "size_executed": ("size_executed",),
    "notional_executed": ("notional_executed",),
}
"""Column of ``twap_daily_stats`` → columns of ``twap_orders`` that its value is computed from."""
