"""Questions to the ledger: what the data hold by day of object, and what is missing. Gaps must be seen."""

from datetime import date

from sqlalchemy import Date, TextClause, bindparam, text

from twap_pipeline.api.queries.json_format import rfc3339_sql
from twap_pipeline.api.queries.orders import LATEST_EVENT_SQL
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX

_COUNTS = ("objects", "failed", "parked", "rows_read", "rows_inserted", "rows_quarantined", "objects_pending_refresh")

# The parts that are put together below are this module's own constants.

_COVERAGE = f"""
WITH entries AS (
  SELECT *, coalesce(object_date, (last_modified AT TIME ZONE 'UTC')::date) AS day FROM etl_s3_ingest_log
), ledger AS (
  SELECT day, count(*) FILTER (WHERE error_text IS NULL) AS objects,
    count(*) FILTER (WHERE error_text IS NOT NULL) AS failed,
    count(*) FILTER (WHERE error_text IS NOT NULL AND failed_attempts >= {ATTEMPTS_MAX}) AS parked,
    coalesce(sum(rows_read), 0) AS rows_read,
    coalesce(sum(coalesce(rows_inserted, rows_ingested)), 0) + coalesce(sum((
      SELECT sum((version ->> 'rows_inserted')::bigint) FROM jsonb_array_elements(previous_versions) AS version
    )), 0) AS rows_inserted,
    coalesce(sum(rows_quarantined), 0) AS rows_quarantined,
    count(*) FILTER (WHERE orders_refreshed_at IS NULL AND (error_text IS NULL OR previous_versions <> '[]'))
      AS objects_pending_refresh
  FROM entries GROUP BY day
), span AS (
  SELECT coalesce(:start, min(day)) AS first, coalesce(:end - 1, max(day)) AS last FROM ledger
), days AS (
  SELECT midnight::date AS day, {", ".join(f"coalesce({name}, 0) AS {name}" for name in _COUNTS)}
  FROM span CROSS JOIN generate_series(span.first, span.last, interval '1 day') AS midnight
  LEFT JOIN ledger ON ledger.day = midnight::date
)
SELECT (SELECT first FROM span)::text AS start, (SELECT last + 1 FROM span)::text AS end,
  {", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _COUNTS)},
  coalesce(json_agg(day ORDER BY day) FILTER (WHERE objects = 0), '[]')::text AS missing_days,
  (SELECT {rfc3339_sql("max(last_modified)")} FROM etl_s3_ingest_log WHERE error_text IS NULL) AS last_object_at,
  (SELECT {rfc3339_sql("max(ingested_at)")} FROM etl_s3_ingest_log WHERE error_text IS NULL) AS last_ingested_at,
  {rfc3339_sql(LATEST_EVENT_SQL)} AS last_event_at, coalesce(json_agg(days ORDER BY day), '[]')::text AS days
FROM days
"""  # noqa: S608


def coverage(start: date | None, end: date | None) -> TextClause:
    """Return a statement for the ledger's account from ``start`` to before ``end``; the days with objects if open.

    One row: as to_json_value, ``missing_days`` and ``days`` JSON lists as text.
    """
    return text(_COVERAGE).bindparams(bindparam("start", start, Date()), bindparam("end", end, Date()))
