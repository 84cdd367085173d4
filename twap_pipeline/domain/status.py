"""What one TWAP status event is: its columns, their meaning, and which event wins when two claim one place.

Here belongs the vocabulary that the other floors share. How the exchange's words become these columns is
``normalize``; how they lie in PostgreSQL is ``storage.models``.
"""

STATUS_RANK: dict[str, int] = {
    "waitingForTrigger": 0,
    "activated": 1,
    "finished": 3,
    "terminated": 3,
    "error": 3,
    "stopped": 3,
}
"""Place of each status in an order's life. Of two events with one (twap_id, wallet, ts), the higher rank wins."""

UNKNOWN_STATUS_RANK = 2
"""A status that this code has not met: after activation, before any terminal event."""

TERMINAL_STATUSES: frozenset[str] = frozenset(name for name, rank in STATUS_RANK.items() if rank > UNKNOWN_STATUS_RANK)
"""After one of these no further event of the order is expected."""

KEY_COLUMNS: tuple[str, ...] = ("twap_id", "wallet", "ts")

CONTENT_COLUMNS: dict[str, str] = {
    "asset": "Coin or pair as the exchange writes it: BTC, kBONK, xyz:NVDA, @107, PURR/USDC.",
    "side": "B = buy, A = sell (ask).",
    "size_requested": "Size ordered, coin units, exact.",
    "size_executed": "Size executed when the event happened, coin units, exact; 0 until the terminal event.",
    "notional_executed": "Executed notional, USD, exact; fees are not in this feed.",
    "status": "activated, finished, terminated, error, waitingForTrigger, stopped, or a newer word, verbatim.",
    "duration_minutes": "Planned duration of the order, minutes.",
    "started_at": "When the order was created; the same in every event of the order. NULL where the feed holds 0.",
    "status_error": "The exchange's message where status is error.",
    "reduce_only": "The order may only reduce a position.",
    "randomize": "The exchange randomizes the slices.",
    "raw_payload": "The whole source row as JSON.",
}
"""What an event says beside its key, with the meaning of each column."""

KEY_COLUMN_DESCRIPTIONS: dict[str, str] = {
    "twap_id": "The order's id, unique on the exchange, as digits.",
    "wallet": "The order's owner, 0x and 40 hex digits, lower case.",
    "ts": "When this event happened, UTC, microseconds; never the order's creation.",
}

ROW_COLUMNS: tuple[str, ...] = (*KEY_COLUMNS, *CONTENT_COLUMNS)
"""Columns of a canonical frame, in order, after ``row_number`` (0-based place in its object)."""
