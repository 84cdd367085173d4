"""``twap_orders``: one row per order, a pure function of ``twap_status``, kept up object by object.

An order's figures are those of its furthest event: the highest place in the order's life, then the latest. The ledger
remembers of each object whether its events were taken in (``orders_refreshed_at``), so nothing is lost when a worker
dies in between, and a late event is taken in like any other.
"""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from twap_pipeline.storage.status_sql import ENDED, rank_sql

_DERIVED: dict[str, str] = {
    **{
        name: name
        for name in (
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
    },
    "last_status_at": "ts",
    "ended_at": f"CASE WHEN status IN ({ENDED}) THEN ts END",
    "started_at": "coalesce(min(started_at) OVER life, min(ts) FILTER (WHERE status = 'activated') OVER life)",
    "event_count": "count(*) OVER life",
    "first_event_at": "min(ts) OVER life",
    "first_object_key": "first_value(s3_object_key) OVER (life ORDER BY ts)",
    "last_object_key": "first_value(s3_object_key) OVER (life ORDER BY ts DESC)",
}
"""Each column and what it is, over an order's events; the table generates the others from these."""

_NAMES = ", ".join(_DERIVED)
_LOCK_KEY = 0x6F72_6465  # "orde"

# Names and expressions below are this package's own constants.


def _orders(events: str) -> str:
    """Return SQL for the orders that these events make."""
    derived = ", ".join(f"{expression} AS {name}" for name, expression in _DERIVED.items())
    return (
        f"SELECT DISTINCT ON (twap_id, wallet) twap_id, wallet, {derived} FROM {events}"  # noqa: S608
        " WINDOW life AS (PARTITION BY twap_id, wallet)"
        f" ORDER BY twap_id, wallet, {rank_sql('status')} DESC, ts DESC"
    )


def _differs(one: str, other: str) -> str:
    columns = ("({})".format(", ".join(f"{table}.{name}" for name in _DERIVED)) for table in (one, other))
    return " IS DISTINCT FROM ".join(columns)


_TOUCHED = (
    "(SELECT DISTINCT twap_id, wallet FROM twap_status WHERE s3_object_key = ANY(:keys)) AS touched"
    " JOIN twap_status USING (twap_id, wallet)"
)
_REFRESH = f"""
WITH merged AS (
  INSERT INTO twap_orders AS stored (twap_id, wallet, {_NAMES}) {_orders(_TOUCHED)}
  ON CONFLICT (twap_id, wallet) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _DERIVED)},
    refreshed_at = now()
  WHERE {_differs("stored", "excluded")}
  RETURNING xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
"""  # noqa: S608

DIFFERENCES = f"""
SELECT twap_id, wallet, CASE WHEN stored.event_count IS NULL THEN 'missing'
  WHEN derived.event_count IS NULL THEN 'without events' ELSE 'differs' END AS fault
FROM twap_orders AS stored FULL JOIN ({_orders("twap_status")}) AS derived USING (twap_id, wallet)
WHERE {_differs("stored", "derived")}
"""  # noqa: S608
"""Orders that are not what the events say; reads every event."""

_LOADED = "(error_text IS NULL OR previous_versions <> '[]')"


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What a refresh did.

    Args:
        objects: Objects whose events were taken in.
        inserted: Orders that are new.
        updated: Orders that changed.
    """

    objects: int
    inserted: int
    updated: int


def refresh_orders(connection: Connection, day: date) -> RefreshResult:
    """Bring every order that a day's objects have an event of to what all of its events say.

    Args:
        connection: In a transaction; nothing is committed here. Refreshes wait for each other until it ends, so that
            of two the later sees all that the earlier saw.
        day: The UTC day that the ledger filed the objects under.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    statement = text(f"SELECT s3_object_key, ingested_at FROM etl_s3_ingest_log WHERE object_date = :day AND {_LOADED}")  # noqa: S608
    loaded = connection.execute(statement, {"day": day}).all()
    keys = [key for key, _ in loaded]
    inserted, updated = connection.execute(text(_REFRESH), {"keys": keys}).one()
    # An object that was loaded anew since the look above stays due.
    connection.execute(
        text(
            "UPDATE etl_s3_ingest_log AS log SET orders_refreshed_at = now()"
            " FROM unnest(:keys ::text[], :moments ::timestamptz[]) AS seen (key, at)"
            " WHERE log.s3_object_key = seen.key AND log.ingested_at = seen.at"
        ),
        {"keys": keys, "moments": [at for _, at in loaded]},
    )
    return RefreshResult(len(keys), int(inserted), int(updated))


def dates_pending_refresh(connection: Connection) -> dict[date, str]:
    """Return the days with loaded objects that ``twap_orders`` has not taken in, each with a digest of which."""
    statement = text(
        "SELECT object_date, md5(string_agg(s3_object_key || ingested_at, ' ' ORDER BY s3_object_key))"  # noqa: S608
        f" FROM etl_s3_ingest_log WHERE orders_refreshed_at IS NULL AND {_LOADED} AND object_date IS NOT NULL"
        " GROUP BY 1 ORDER BY 1"
    )
    return {day: str(digest) for day, digest in connection.execute(statement)}
