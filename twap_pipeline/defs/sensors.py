"""Sensors that start runs, one per reason: pending objects, orders to refresh, asset checks to run again.

The ingest log decides what is pending. A cursor only stores where a long listing continues. An object stays pending
until a run loads it, so that a failed run is requested again; `run_requests` limits how often. A tick requests no run
while the database is not at head. The sensor for failed runs is in `alerts`, that for lost runs in `lost_runs`.
"""

import hashlib
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.defs.asset_checks import SOURCE_CHECKS
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.data_sets import DataSetDefinition
from twap_pipeline.defs.event_log import (
    IMPLICIT_ASSET_JOB_NAME,
    NOT_FINISHED_STATUSES,
    failed_partitions,
    record_source_partitions,
    stale_checks,
)
from twap_pipeline.defs.jobs import CHECK_JOB, FULL_CHECK_JOB, INGEST_FILLS_JOB, INGEST_JOB, REFRESH_JOB
from twap_pipeline.defs.partitions import group_into_ranges
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.defs.run_requests import PendingWork, build_sensor_result
from twap_pipeline.domain.object_ref import ObjectRef, fingerprint
from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.ingest import plan as ingest_plan
from twap_pipeline.ingest.incremental_listing import ListingSlice, list_slice
from twap_pipeline.storage.ingest_log import IngestLogEntry, bytes_read_today, read_ingest_log
from twap_pipeline.storage.orders.refresh import dates_pending_refresh

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.source.base import ObjectStore

KEYS_PER_TICK = 10_000
"""Maximum keys of a tick's slice: 10 LIST requests, and one more per recent day and key layout."""

SECONDS_PER_TICK = 20.0
"""Maximum time that a tick lists. Dagster cancels a tick after 60 seconds and discards its result."""

RECENT_DAYS = 2
"""Today and yesterday are listed in every tick."""

EVENTS_PER_TICK = 100
"""Maximum source partitions that a tick records, at about 20 ms per partition."""

ORDERS_INTERVAL_SECONDS = 30
"""Interval of ``stale_twap_orders``. A tick runs one query and sends no request to the source."""

CHECKS_INTERVAL_SECONDS = 15
"""Interval of ``stale_asset_checks``. A tick reads Dagster's storage only, at about 20 ms."""

SOURCE_CHECK_INTERVAL = timedelta(hours=24)
"""Minimum age of a passed comparison with the source before ``stale_asset_checks`` requests another."""

_ORDERS_JOBS = (IMPLICIT_ASSET_JOB_NAME, INGEST_JOB, REFRESH_JOB)
_ASSET_JOBS = (*_ORDERS_JOBS, INGEST_FILLS_JOB)


def build_new_objects_sensor(
    definition: DataSetDefinition,
    interval_seconds: int,
    default_status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """Return the sensor that requests a run for each partition of a data set with pending objects.

    Objects of other days than the partitions are ignored.
    """
    data_set, partitions, key_date_patterns = definition.data_set, definition.partitions, definition.key_date_patterns

    @dg.sensor(
        name=definition.names.sensor,
        job_name=definition.names.ingest_job,
        default_status=default_status,
        minimum_interval_seconds=interval_seconds,
        description=(
            f"Lists the source and starts {definition.names.ingest_job} for each day with objects that are not loaded,"
            " or that were overwritten since."
        ),
    )
    def request_pending_days(
        context: dg.SensorEvaluationContext,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
    ) -> dg.SensorResult:
        with database.engine() as engine:
            if refusal := _schema_refusal(engine):
                return dg.SensorResult(skip_reason=refusal, cursor=context.cursor)
            store = object_store.open_for(engine, data_set)
            listing = list_slice(
                store, context.cursor or "", key_date_patterns, keys_max=KEYS_PER_TICK, seconds_max=SECONDS_PER_TICK
            )
            refs_by_date, complete_days = _add_recent_days(engine, store, listing, key_date_patterns)
            refs_by_date = {
                day: refs for day, refs in refs_by_date.items() if partitions.has_partition_key(day.isoformat())
            }
            keys = [ref.key for refs in refs_by_date.values() for ref in refs]
            with engine.connect() as connection:
                entries = read_ingest_log(connection, keys, data_set=data_set)
                read_today_bytes = bytes_read_today(connection)
        record_source_partitions(  # the data version of a partition needs all of its objects
            context.instance,
            definition.source_key,
            store.url,
            {day: refs for day, refs in refs_by_date.items() if day in complete_days},
            limit=EVENTS_PER_TICK,
        )
        result = build_sensor_result(
            context.instance,
            pending_partitions(refs_by_date, entries),
            skip_message="no pending objects",
            max_bytes_per_day=database.settings.max_bytes_per_day,
            read_today_bytes=read_today_bytes,
            cursor=listing.next_cursor,
            resume_cursors=listing.resume_after_by_date,
        )
        failpoint("mid-tick")
        return result

    return request_pending_days


def _add_recent_days(
    engine: "Engine", store: "ObjectStore", listing: ListingSlice, key_date_patterns: Sequence[str]
) -> tuple[dict[date, list[ObjectRef]], Set[date]]:
    """Record the key layouts of a slice, and list the recent days by the known layouts.

    Returns:
        UTC day → objects of the slice and of the recent days, and the days whose objects are complete.
    """
    from twap_pipeline.ingest.day_listing import EVERY_KEY, find_layouts, list_days_by_layout, record_layouts

    refs = (ref for refs in listing.days.values() for ref in refs)
    layouts = record_layouts(engine, store, find_layouts(refs, key_date_patterns), is_complete=listing.is_complete)
    if listing.is_complete:
        return listing.days, listing.days.keys()
    if layouts == EVERY_KEY:  # the source is too large for a tick
        return listing.days, frozenset()
    today = datetime.now(UTC).date()
    days = {today - timedelta(days=back) for back in range(RECENT_DAYS)}
    recent = list_days_by_layout(store, days, layouts, key_date_patterns)
    return recent | {day: refs for day, refs in listing.days.items() if day not in recent}, recent.keys()


def build_orders_sensor(
    catalog: AssetCatalog,
    partitions: dg.DailyPartitionsDefinition,
    max_partitions_per_run: int,
) -> dg.SensorDefinition:
    """Return the sensor that requests a refresh of orders whose events are newer, or whose partition failed.

    An ingest run refreshes its orders itself, unless it fails because of an object, or dies. Then the orders of all
    partitions of the run are failed, even those without a new event. The sensor is running by default for this reason.
    Its cursor is the last run of each job and the hour of the tick: while orders are up to date, the database is
    queried after each run, and once per hour because of runs of other Dagster instances.
    """

    @dg.sensor(
        name="stale_twap_orders",
        job_name=REFRESH_JOB,
        minimum_interval_seconds=ORDERS_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Starts refresh_twap_orders for days whose objects are loaded but not yet included in twap_orders, after an"
            " ingest run that failed or was killed, and for days that failed because another day of their run failed."
        ),
    )
    def stale_twap_orders(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[DatabaseResource]
    ) -> dg.SensorResult:
        if _is_in_progress(context.instance, INGEST_JOB, IMPLICIT_ASSET_JOB_NAME):
            return dg.SensorResult(skip_reason="an ingest run is in progress; it refreshes its orders at the end")
        runs = _latest_run_ids(context.instance, *_ORDERS_JOBS)
        cursor = f"{runs} {datetime.now(UTC):%Y-%m-%dT%H}"
        if not runs or cursor == context.cursor:  # do not start the embedded PostgreSQL in each tick
            return dg.SensorResult(skip_reason="no new run since orders were up to date")
        with database.engine() as engine:
            if refusal := _schema_refusal(engine):
                return dg.SensorResult(skip_reason=refusal)
            with engine.connect() as connection:
                pending_days = dates_pending_refresh(connection)
        failed_run = _latest_run_ids(context.instance, INGEST_JOB, IMPLICIT_ASSET_JOB_NAME)
        failed_days = {
            date.fromisoformat(day): failed_run
            for asset in (catalog.orders_key, catalog.daily_stats_key)
            for day in failed_partitions(context.instance, asset, partitions)
        }
        fingerprints = {
            day: text
            for day, text in sorted({**failed_days, **pending_days}.items())
            if partitions.has_partition_key(day.isoformat())
        }
        pending = [
            PendingWork(first, _range_fingerprint(fingerprints, first, last), last=last)
            for first, last in group_into_ranges(fingerprints, max_partitions_per_run)
        ]
        return build_sensor_result(
            context.instance, pending, skip_message="orders are up to date", cursor=None if pending else cursor
        )

    return stale_twap_orders


def build_checks_sensor(check_keys: Sequence[dg.AssetCheckKey]) -> dg.SensorDefinition:
    """Return the sensor that requests one run of the checks after the runs that materialize assets.

    It is running by default: without it a check has no result after a run that skipped it or failed. A tick sends no
    request to the source. The check ``ingest_log_matches_source`` lists the source: it is requested once per day while
    it passes, and after a run that planned it and did not evaluate it. The run key is the last run of each job and the
    UTC day, so that a failed run of the checks is repeated on the next day only.
    """
    intervals = {key: SOURCE_CHECK_INTERVAL for key in check_keys if key.name in SOURCE_CHECKS}

    @dg.sensor(
        name="stale_asset_checks",
        job_name=CHECK_JOB,
        minimum_interval_seconds=CHECKS_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Runs the asset checks once, after the last run that materializes their assets has ended, unless that run"
            " evaluated them itself: the days that changed, and once per day the listing of the source."
        ),
    )
    def stale_asset_checks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if _is_in_progress(context.instance, *_ASSET_JOBS, CHECK_JOB, FULL_CHECK_JOB):
            return dg.SensorResult(skip_reason="a run of assets or checks is in progress")
        stale = stale_checks(context.instance, check_keys, intervals)
        if not stale:
            return dg.SensorResult(skip_reason="every check has a result for the latest materialization")
        run_key = f"{_latest_run_ids(context.instance, *_ASSET_JOBS)} {datetime.now(UTC):%Y-%m-%d}"
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key, asset_check_keys=stale)])

    return stale_asset_checks


def _is_in_progress(instance: dg.DagsterInstance, *job_names: str) -> bool:
    runs = instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    return any(run.job_name in job_names for run in runs)


def _latest_run_ids(instance: dg.DagsterInstance, *job_names: str) -> str:
    """Return the id of the latest run of each job, joined."""
    latest = [instance.get_runs(dg.RunsFilter(job_name=name), limit=1) for name in job_names]
    return "-".join(run.run_id for runs in latest for run in runs)


def _schema_refusal(engine: "Engine") -> str | None:
    """Return why no run can start on this database; None if it is at head. A tick during an upgrade is skipped."""
    from twap_pipeline.storage.schema.revision_gate import require_head

    try:
        require_head(engine)
    except SchemaRevisionError as error:
        return str(error)
    return None


def _range_fingerprint(fingerprints: Mapping[date, str], first: date, last: date) -> str:
    joined = " ".join(text for day, text in fingerprints.items() if first <= day <= last)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def pending_partitions(
    refs_by_date: Mapping[date, Sequence[ObjectRef]], entries: Mapping[str, IngestLogEntry]
) -> list[PendingWork]:
    """Return the partitions with pending objects, in the order of ``refs_by_date``."""
    pending = []
    for day, refs in refs_by_date.items():
        if pending_refs := ingest_plan.plan(refs, entries).pending:
            known = [entries[ref.key] for ref in pending_refs if ref.key in entries]
            failed_attempts = sum(entry.failed_attempts for entry in known)
            last_attempt = max((entry.ingested_at.timestamp() for entry in known), default=0)
            size_bytes = sum(ref.size_bytes for ref in pending_refs)
            batch = f"{fingerprint(pending_refs)}-{failed_attempts}-{last_attempt}"
            pending.append(PendingWork(day, batch, size_bytes))
    return pending
