"""Statements of ``/api/v1``, the contract of the original service: a wallet's orders, an order, health."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, Text, TextClause, bindparam, text

from twap_pipeline.storage.sql_files import load_queries

BYTES_MAX = 64_000_000
"""Maximum size of a response. The contract has no cursor, so a larger response is refused, not shortened."""

_OFFSET_MAX = 2**62
_QUERIES = load_queries(__package__, "v1.sql")


def wallet_orders(
    wallet: str, start: datetime, end: datetime, asset: str | None, *, latest_per_twap: bool, limit: int, offset: int
) -> TextClause:
    """Return a statement for a page of orders by ``twap_id`` as text, each at its latest event in the range.

    Rows: ``body`` as JSON text, and ``page_count``, the number of orders of the page; fewer rows than ``page_count``
    if their bodies exceed `BYTES_MAX`.

    The wallet is any text; its hexadecimal digits match in any case. The range includes its end. An empty asset selects
    all. Unless ``latest_per_twap``, ``raw`` contains the source rows of all events in the range.
    """
    timestamp = DateTime(timezone=True)
    return text(_QUERIES["wallet_orders"]).bindparams(
        bindparam("wallet", _searchable(wallet.lower()), Text()),
        bindparam("start", start, timestamp),
        bindparam("end", end, timestamp),
        bindparam("asset", _searchable(asset) if asset else None, Text()),
        bindparam("latest_per_twap", latest_per_twap, Boolean()),
        bindparam("limit", limit, BigInteger()),
        bindparam("offset", min(offset, _OFFSET_MAX), BigInteger()),
        bindparam("bytes_max", BYTES_MAX, BigInteger()),
    )


def order_events(twap_id: str) -> TextClause:
    """Return a statement for the events of an order, latest first. Rows: see `wallet_orders`."""
    return text(_QUERIES["order_events"]).bindparams(
        bindparam("twap_id", _searchable(twap_id), Text()), bindparam("bytes_max", BYTES_MAX, BigInteger())
    )


def last_ingested() -> TextClause:
    """Return a statement for ``s3_object_key`` and ``ingested_at`` of the object that was ingested last."""
    return text(_QUERIES["last_ingested"])


def _searchable(value: str) -> str:
    """Return a text without NUL, which PostgreSQL refuses and no row contains."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
