"""Columns of a TWAP status event with their descriptions, and the status ranks of the precedence rule.

Put names here that several layers share. The conversion from feed columns belongs in ``normalize``; PostgreSQL types
belong in ``storage.schema.models``.
"""

STATUS_RANK: dict[str, int] = {
    "waitingForTrigger": 0,
    "activated": 1,
    "finished": 3,
    "terminated": 3,
    "error": 3,
    "stopped": 3,
}
"""Rank of each status in an order's lifecycle. Of several events with equal (twap_id, wallet, ts), the one with the
highest rank is kept."""

UNKNOWN_STATUS_RANK = 2
"""Rank of every status that is not in `STATUS_RANK`: after activation, before terminal statuses."""

TERMINAL_STATUSES: frozenset[str] = frozenset(name for name, rank in STATUS_RANK.items() if rank > UNKNOWN_STATUS_RANK)
"""Statuses after which no other event of the order is expected."""

KEY_COLUMNS: tuple[str, ...] = ("twap_id", "wallet", "ts")

CONTENT_COLUMN_DESCRIPTIONS: dict[str, str] = {
    "asset": "Coin or pair as the exchange writes it: BTC, kBONK, xyz:NVDA, @107, PURR/USDC.",
    "side": "B = buy, A = sell (ask).",
    "size_requested": "Requested size, coin units, exact.",
    "size_executed": "Executed size at the time of the event, coin units, exact; 0 until the terminal event.",
    "notional_executed": "Executed notional, USD, exact; fees are not in this feed.",
    "status": "activated, finished, terminated, error, waitingForTrigger, stopped, or an unknown status, verbatim.",
    "duration_minutes": "Planned duration of the order, minutes.",
    "started_at": "Creation time of the order; equal in all its events. NULL if the feed contains 0.",
    "status_error": "Message or description that the exchange writes with a status, as a rule with error.",
    "reduce_only": "The order may only reduce a position.",
    "randomize": "The exchange randomizes the slices.",
    "raw_payload": "The whole source row as JSON.",
}
"""Column of an event, except its key → description."""

CONTENT_COLUMNS: tuple[str, ...] = tuple(CONTENT_COLUMN_DESCRIPTIONS)

KEY_COLUMN_DESCRIPTIONS: dict[str, str] = {
    "twap_id": "Id of the order, unique on the exchange, as digits.",
    "wallet": "Owner of the order, 0x and 40 hex digits, lower case.",
    "ts": "Time of this event, UTC, microseconds; never the order's creation.",
}
