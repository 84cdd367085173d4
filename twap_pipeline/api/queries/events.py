"""Questions to ``twap_status``: a wallet's orders or events in pages, and an order's whole story.

**What pages promise.** The first page fixes which events belong to the list: those that were there. Whatever page they
fall on, each comes once, as it stands when its page is read. Events that arrive later, of whatever time, stay out, so
that they neither shift nor double anything. The bound is the next transaction id at the first page: a row written by
that transaction or a later one is late. Two cases lean to the side of showing too much, never too little: an object
that was being written at that very moment may add events to later pages, and so may one that replaced stored events
(rule V9), since a replaced event must not get lost.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import TextClause, text

from twap_pipeline.api.queries.json_format import rfc3339_sql
from twap_pipeline.storage.status_sql import ENDED


@dataclass(frozen=True, slots=True)
class EventCursor:
    """Where a page begins: after this event, in the set that the first page fixed.

    Args:
        ts: The event's time.
        twap_id: The event's order.
        bound: The next transaction id when the first page was read.
        first_read_at: When that was.
    """

    ts: datetime
    twap_id: str
    bound: int
    first_read_at: datetime


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of a wallet.

    Args:
        wallet: Lower case.
        start: Beginning of the range, inside it; None when open.
        end: End of the range, outside it; None when open.
        on: What the range is on: ``event`` (the event's time), ``started`` (the order's start) or ``ended`` (the time
            of its terminal event).
        asset: Only this one.
        status: Only events of this status; with `latest_per_twap`, only orders whose latest event has it.
        latest_per_twap: Of each order only the latest of these events.
    """

    wallet: str
    start: datetime | None = None
    end: datetime | None = None
    on: str = "event"
    asset: str | None = None
    status: str | None = None
    latest_per_twap: bool = True


def wallet_events(wanted: EventFilter, *, after: EventCursor | None, limit: int, offset: int = 0) -> TextClause:
    """Return a statement for a page of a wallet's events, the latest first.

    Rows: ``body`` as JSON text, ``ts`` and ``twap_id`` of the event, ``bound`` and ``read_at`` of the first page.
    """
    given: dict[str, object] = {"wallet": wanted.wallet, "limit": limit, "offset": offset}
    narrowing = {"start": wanted.start, "end": wanted.end, "asset": wanted.asset, "status": wanted.status}
    given |= {name: value for name, value in narrowing.items() if value is not None}
    if after is not None:
        given |= {"ts": after.ts, "twap_id": after.twap_id, "bound": after.bound, "read_at": after.first_read_at}
    return _page(wanted.on, frozenset(given), latest_per_twap=wanted.latest_per_twap).bindparams(**given)


def order_events(twap_id: str) -> TextClause:
    """Return a statement for every event of an order, oldest first. Rows: ``body`` as JSON text."""
    return _STORY.bindparams(twap_id=twap_id)


# The parts that are put together below are this module's own constants; values are parameters.


@lru_cache
def _page(on: str, given: frozenset[str], *, latest_per_twap: bool) -> TextClause:
    """Return the statement for a page, by what is given; put together once each."""
    conditions = [_within("row", on, given)]
    if latest_per_twap:
        later = "later.twap_id = row.twap_id AND later.wallet = row.wallet AND later.ts > row.ts"
        conditions.append(
            f"NOT EXISTS (SELECT FROM twap_status AS later WHERE {later} AND {_within('later', on, given)})"
        )
    conditions += [f"row.{name} = :{name}" for name in ("status", "asset") if name in given]
    if "bound" in given:
        conditions.append("(row.ts, row.twap_id) < (CAST(:ts AS timestamptz), :twap_id)")
        first_page = "CAST(:bound AS bigint) AS bound, CAST(:read_at AS timestamptz) AS read_at"
    else:
        first_page = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS bound, now() AS read_at"
    return text(
        f"SELECT {_BODY} AS body, row.ts, row.twap_id, {first_page} FROM twap_status AS row"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} ORDER BY row.ts DESC, row.twap_id DESC LIMIT :limit OFFSET :offset"
    )


def _within(row: str, on: str, given: frozenset[str]) -> str:
    """Whether an event is of the wallet, in the range, and of the set that the first page fixed."""
    conditions = [f"{row}.wallet = :wallet"]
    moment = f"{row}.ts"
    if on == "started":
        moment = _START.format(row=row)
        if "start" in given:  # an order's events follow its start: what the index can use
            conditions.append(f"{row}.ts >= CAST(:start AS timestamptz) - interval '1 day'")
    if on == "ended":
        conditions.append(f"{row}.status IN ({ENDED})")
    if "start" in given:
        conditions.append(f"{moment} >= CAST(:start AS timestamptz)")
    if "end" in given:
        conditions.append(f"{moment} < CAST(:end AS timestamptz)")
    if "bound" in given:
        conditions.append(_IN_THE_SET.format(row=row))
    return " AND ".join(conditions)


_START = (
    "coalesce({row}.started_at, (SELECT coalesce(min(other.started_at), min(other.ts) FILTER (WHERE other.status ="
    " 'activated')) FROM twap_status AS other WHERE other.twap_id = {row}.twap_id AND other.wallet = {row}.wallet))"
)
"""When an order began, if need be by its other events; the same rule as in ``twap_orders``."""

_IN_THE_SET = (
    "NOT ({row}.inserted_at > CAST(:read_at AS timestamptz) - interval '7 days'"
    " AND (({row}.xmin::text::bigint - CAST(:bound AS bigint)) & 4294967295) < 2147483648"
    " AND NOT EXISTS (SELECT FROM etl_s3_ingest_log AS log WHERE log.s3_object_key = {row}.s3_object_key"
    " AND (log.rows_updated > 0 OR log.ingested_at <> {row}.inserted_at)))"
)
"""Whether an event was there at the first page; see the module's promise.

Rows tell transaction ids modulo 2^32, and of two the later is the one less than half of that ahead. Only what was
written since a week before the first page is looked at, so that ids of long ago cannot be mistaken for later ones.
"""

_BODY = f"""json_build_object('twap_id', row.twap_id, 'asset', row.asset, 'side', row.side, 'status', row.status,
  'duration_minutes', row.duration_minutes, 'latest_ts', {rfc3339_sql("row.ts")}, 'executed',
  json_build_object('size', row.size_executed::text, 'notional', row.notional_executed::text),
  'raw', row.raw_payload)::text"""

_STORY = text(
    f"""SELECT json_build_object('wallet', wallet, 'ts', {rfc3339_sql("ts")}, 'asset', asset, 'side', side,
  'size_requested', size_requested::text, 'size_executed', size_executed::text,
  'notional_executed', notional_executed::text, 'status', status, 'duration_minutes', duration_minutes,
  'raw', raw_payload)::text AS body FROM twap_status WHERE twap_id = :twap_id ORDER BY ts, wallet"""  # noqa: S608
)
