"""Runs an audit as a command, a Dagster job and an asset check need it: listing, budget, deep audit, one report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

from sqlalchemy import Engine

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import KEY_DATE_PATTERNS, ObjectRef
from twap_pipeline.ingest.audit import AuditReport, audit
from twap_pipeline.ingest.deep_audit import deep_audit, deleted_objects, loaded_objects
from twap_pipeline.ingest.plan import check_budget
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage.ingest_log import bytes_read_today, record_audit_read
from twap_pipeline.storage.long_statements import STATEMENT_TIMEOUT_SECONDS


def run_audit(
    store: ObjectStore,
    engine: Engine,
    *,
    since: date,
    key_date_patterns: Sequence[str] = KEY_DATE_PATTERNS,
    deep: bool = False,
    requeue: bool = False,
    max_bytes_per_run: int | None = None,
    max_bytes_per_day: int | None = None,
    timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
    before_reading: Callable[[Sequence[ObjectRef]], None] = lambda _: None,
    data_set: DataSet = TWAP_STATUS,
) -> AuditReport:
    """List the source and compare it with the ingest log and the tables; read the objects if requested.

    Args:
        store: The object store.
        engine: A database at head.
        since: First UTC date of the partitions.
        key_date_patterns: Regular expressions of dates in keys.
        deep: Read every loaded object again and compare it row by row.
        requeue: Like ``deep``; also delete wrong rows and requeue their objects.
        max_bytes_per_run: Maximum bytes of objects to read; None for no limit.
        max_bytes_per_day: Maximum bytes of objects that all runs of the UTC day may read; None for no limit.
        timeout_seconds: Limit of each statement.
        before_reading: Called with the objects to read before the budget is checked.
        data_set: Data set of the store's objects.

    Raises:
        BudgetExceededError: The objects exceed a budget; none was read.
        SourceError: The store failed or refused access.
        StatementTimeoutError: A statement reached the limit.
    """
    if not (deep or requeue):
        stream = store.list_objects()
        return AuditReport(
            audit(engine, stream, since, key_date_patterns, timeout_seconds=timeout_seconds, data_set=data_set)
        )
    listing = list(store.list_objects())
    findings = audit(engine, listing, since, key_date_patterns, timeout_seconds=timeout_seconds, data_set=data_set)
    refs = loaded_objects(engine, listing, since, key_date_patterns, data_set)
    before_reading(refs)
    with engine.connect() as connection:
        read_today = bytes_read_today(connection)
    check_budget(refs, max_bytes=max_bytes_per_run, max_bytes_today=max_bytes_per_day, read_today_bytes=read_today)
    with engine.begin() as connection:
        record_audit_read(connection, data_set, refs)
    report = deep_audit(
        store,
        engine,
        refs,
        key_date_patterns,
        requeue=requeue,
        deleted_keys=deleted_objects(engine, listing, data_set),
        timeout_seconds=timeout_seconds,
        data_set=data_set,
    )
    return replace(report, findings=[*findings, *report.findings])
