"""Builds the statement that returns, per UTC day of the objects, what the ingest log says is loaded."""

from datetime import date

from sqlalchemy import Date, TextClause, bindparam, text

from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline.storage.sql_files import load_queries

_QUERIES = load_queries(__package__, "coverage.sql")


def coverage(start: date | None, end: date | None, *, days_max: int) -> TextClause:
    """Return a statement for the coverage from ``start`` to before ``end``; None is the first or last day with objects.

    One row of JSON values; ``missing_days``, ``archived_months`` and ``days`` are JSON arrays as text. If
    ``range_days``, the number of days of the range, exceeds ``days_max``, the last days are missing in all figures.
    """
    return text(_QUERIES["coverage"]).bindparams(
        bindparam("start", start, Date()),
        bindparam("end", end, Date()),
        bindparam("attempts_max", ATTEMPTS_MAX),
        bindparam("days_max", days_max),
    )
