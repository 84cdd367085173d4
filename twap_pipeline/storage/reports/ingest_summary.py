"""Row counts per UTC date of the objects, and failed objects, from the ingest log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, func, select

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.schema.models import etl_s3_ingest_log as log


@dataclass(frozen=True, slots=True)
class IngestDaySummary:
    """Loaded objects, failed objects, bytes and row counts of one UTC date."""

    day: date
    objects: int
    failed: int
    size_bytes: int
    row_counts: RowCounts


def day_reports(
    connection: Connection, run_ids: Sequence[str] | None = None, *, data_set: DataSet
) -> list[IngestDaySummary]:
    """Return a summary per date, in order: of all objects of a data set, or of those that these runs processed."""
    counts = [func.coalesce(func.sum(log.c[f"rows_{outcome}"]), 0) for outcome in RowCounts().as_dict()]
    statement = (
        select(
            log.c.object_date,
            func.count().filter(log.c.error_text.is_(None)),
            func.count().filter(log.c.error_text.is_not(None)),
            func.coalesce(func.sum(log.c.size_bytes), 0),
            *counts,
        )
        .where(log.c.data_set == data_set.name, log.c.object_date.is_not(None))
        .group_by(log.c.object_date)
        .order_by(log.c.object_date)
    )
    if run_ids is not None:
        statement = statement.where(log.c.dagster_run_id.in_(run_ids))
    return [
        IngestDaySummary(day, objects, failed, int(size), RowCounts(*map(int, row_counts)))
        for day, objects, failed, size, *row_counts in connection.execute(statement)
    ]


def failed_objects(connection: Connection, run_ids: Sequence[str], *, data_set: DataSet) -> list[tuple[str, str, int]]:
    """Return key, error text and failed attempts of the objects that these runs failed to load, by key."""
    statement = (
        select(log.c.s3_object_key, log.c.error_text, log.c.failed_attempts)
        .where(log.c.data_set == data_set.name, log.c.error_text.is_not(None), log.c.dagster_run_id.in_(run_ids))
        .order_by(log.c.s3_object_key)
    )
    return [(key, error, failed_attempts) for key, error, failed_attempts in connection.execute(statement)]
