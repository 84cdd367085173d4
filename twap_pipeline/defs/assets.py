"""The assets ``twap_s3_objects`` (source) and ``twap_status``, and what all assets of the package share.

An asset body lists objects, calls `ingest` and records metadata per partition. How an object is loaded belongs to
`ingest`; the downstream assets are in `orders`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.code_references import code_reference
from twap_pipeline.defs.columns import table_schema
from twap_pipeline.defs.event_log import provenance_tags, record_source_partitions
from twap_pipeline.defs.failures import describe_failed_objects, plain_failure
from twap_pipeline.defs.partition_metadata import PartitionMetadata, status_metadata
from twap_pipeline.defs.refused_runs import tag_refused_run
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource, SchemaGuard
from twap_pipeline.domain.status import CONTENT_COLUMN_DESCRIPTIONS, KEY_COLUMN_DESCRIPTIONS
from twap_pipeline.ingest import plan as ingest_plan
from twap_pipeline.source.selection import SkippedObjects, join_keys
from twap_pipeline.storage.ingest_log import bytes_read_today, read_ingest_log
from twap_pipeline.storage.reports.partition_state import status_partition
from twap_pipeline.storage.schema import models

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.domain.object_ref import ObjectRef
    from twap_pipeline.source.base import ObjectStore

STATUS_CODE_VERSION = "1"
"""Increase it when a code change makes the same objects result in different rows."""

OVERDUE_AFTER = timedelta(hours=48)
"""An asset without a materialization of any partition for this time is overdue."""

FRESHNESS_POLICY = dg.FreshnessPolicy.time_window(fail_window=OVERDUE_AFTER, warn_window=timedelta(hours=30))
"""An asset is fresh for 30 hours after a materialization of any partition: `daily_ingest` and six hours for its run."""

FAILED_OBJECTS_KEY = "twap/failed_objects"
"""Metadata key of a Failure that objects caused; every other object of the run is loaded and recorded."""

_MAX_FAILED_OBJECTS = 100
_STATUS_COLUMNS = {
    **KEY_COLUMN_DESCRIPTIONS,
    **CONTENT_COLUMN_DESCRIPTIONS,
    "s3_object_key": "Key of the object that the row was read from; the ingest log has the object's details.",
    "s3_last_modified": "LastModified of that object; breaks ties of the precedence rule.",
    "inserted_at": "Time at which the row was written.",
}


class IngestConfig(dg.Config):
    """Which objects the run ingests."""

    object_keys: list[str] = Field(
        default=[],
        description="Ingest only the objects with these keys, even if they are parked. Select the partition of their"
        " day, too. Empty: ingest all new objects of the selected partitions.",
    )


@dataclass(frozen=True)
class ByteBudget:
    """Limits of the object bytes that runs read.

    Args:
        max_bytes_per_run: Limit of one run; None for no limit.
        max_bytes_per_day: Limit of all runs of a UTC day; None for no limit.
    """

    max_bytes_per_run: int | None
    max_bytes_per_day: int | None

    def defers(self, size_bytes: int, read_today_bytes: int) -> bool:
        """Return whether a run of this size exceeds the budget of this UTC day, and fits into that of the next one."""
        limit = self.max_bytes_per_day
        return limit is not None and size_bytes <= limit < size_bytes + read_today_bytes

    def enforce(self, refs: Sequence["ObjectRef"], read_today_bytes: int) -> None:
        """Return if a run may read these objects.

        Raises:
            BudgetExceededError: These bytes, or the bytes of the day with them, exceed a limit.
        """
        ingest_plan.check_budget(
            refs,
            max_bytes=self.max_bytes_per_run,
            max_bytes_today=self.max_bytes_per_day,
            read_today_bytes=read_today_bytes,
        )


def build_source_asset(
    catalog: AssetCatalog, partitions: dg.DailyPartitionsDefinition, key_date_patterns: Sequence[str]
) -> dg.SourceAsset:
    """Return the source asset: the objects of the bucket, partitioned by UTC day of the object.

    A source asset of Dagster has no owners.
    """

    @dg.observable_source_asset(
        key=catalog.source_key,
        partitions_def=partitions,
        group_name=catalog.group,
        metadata=code_reference(build_source_asset),
        description=(
            "Parquet objects with the statuses of Hyperliquid TWAP orders, by UTC day of the object. A day has a new"
            " data version when an object was added, overwritten or deleted. Observing lists objects and reads none."
        ),
        tags={"dagster/kind/s3": "", "dagster/kind/parquet": ""},
    )
    def twap_s3_objects(
        context: dg.AssetExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
        schema_guard: dg.ResourceParam[SchemaGuard],
    ) -> dg.DataVersionsByPartition:
        with plain_failure(), database.engine() as engine:
            schema_guard.require_head(engine)
            store = object_store.open_for(engine)
            if context.has_partition_key or context.has_partition_key_range:
                observe_days(context, catalog.source_key, engine, store, key_date_patterns)
            else:
                observe_source(
                    context,
                    catalog.source_key,
                    engine,
                    store,
                    partitions=partitions,
                    key_date_patterns=key_date_patterns,
                )
        return dg.DataVersionsByPartition({})  # the lines above recorded them, with metadata

    return twap_s3_objects


def observe_days(
    context: dg.AssetExecutionContext,
    source_key: dg.AssetKey,
    engine: "Engine",
    store: "ObjectStore",
    key_date_patterns: Sequence[str],
) -> None:
    """List the selected days and record each changed partition in the event log."""
    from twap_pipeline.ingest.day_listing import list_days

    days = [date.fromisoformat(partition_key) for partition_key in context.partition_keys]
    refs_by_date = list_days(store, engine, days, key_date_patterns)
    changed = record_source_partitions(context.instance, source_key, store.url, refs_by_date)
    context.log.info(f"{len(refs_by_date)} of {len(days)} partitions have objects; {len(changed)} are new or changed")


def observe_source(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    source_key: dg.AssetKey,
    engine: "Engine",
    store: "ObjectStore",
    *,
    partitions: dg.DailyPartitionsDefinition,
    key_date_patterns: Sequence[str],
) -> None:
    """List the whole source and record each changed partition in the event log.

    The metadata also counts the objects of the listing that no partition contains.
    """
    from twap_pipeline.ingest.day_listing import list_source

    skipped = SkippedObjects()
    listed = list_source(store, engine, key_date_patterns, skipped=skipped)
    refs_by_date = {day: refs for day, refs in listed.items() if partitions.has_partition_key(day.isoformat())}
    early = [ref.key for ref in ingest_plan.objects_before(listed, partitions.start.date())]
    metadata = {
        "objects_before_start_date": dg.MetadataValue.int(len(early)),
        "first_keys_before_start_date": dg.MetadataValue.text(join_keys(early)),
        "objects_skipped": dg.MetadataValue.text(str(skipped)),
    }
    changed = record_source_partitions(
        context.instance, source_key, store.url, refs_by_date, listing_metadata=metadata if early or skipped else {}
    )
    context.log.info(f"{len(refs_by_date)} partitions have objects; {len(changed)} are new or changed")
    if early:
        context.log.warning(f"ignored {len(early)} objects before TWAP_START_DATE: {join_keys(early)}")
    if skipped:
        context.log.info(f"skipped objects that are not data: {skipped}")


def build_status_asset(
    catalog: AssetCatalog,
    partitions: dg.DailyPartitionsDefinition,
    key_date_patterns: Sequence[str],
    *,
    max_partitions_per_run: int,
    write_concurrency: int,
    max_memory_bytes: int,
    budget: ByteBudget,
) -> dg.AssetsDefinition:
    """Return the asset of the table ``twap_status``, partitioned by UTC day of the object.

    Args:
        catalog: Keys, group and owners.
        partitions: The partitions.
        key_date_patterns: Regular expressions that find the date in a key, in order of preference.
        max_partitions_per_run: Partitions per run of a backfill. The fixed cost of a run is about 3 seconds.
        write_concurrency: Objects of a partition that a run writes concurrently.
        max_memory_bytes: Memory that the process of a run may use.
        budget: Limits of the object bytes that a run reads.
    """

    @dg.asset(
        key=catalog.status_key,
        deps=[catalog.source_key],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=catalog.group,
        owners=list(catalog.owners),
        kinds={"postgres", "python"},
        code_version=STATUS_CODE_VERSION,
        pool="twap_status",
        freshness_policy=FRESHNESS_POLICY,
        tags={"feed": "hyperliquid", "cost": "requester-pays"},
        description=(
            "One row per status event of a TWAP order, with exact decimals and the key of its source object."
            " An order normally has two events: activated (executed size 0), then finished, terminated or error."
            " Materializing a day loads its objects that are not loaded yet; it does not load an object twice."
        ),
        metadata={
            "dagster/table_name": "twap_status",
            **code_reference(build_status_asset),
            "dagster/column_schema": table_schema(models.twap_status, _STATUS_COLUMNS),
        },
    )
    def twap_status(
        context: dg.AssetExecutionContext,
        config: IngestConfig,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
        schema_guard: dg.ResourceParam[SchemaGuard],
    ) -> dg.MaterializeResult[None]:
        with plain_failure(), tag_refused_run(context), database.engine() as engine:
            schema_guard.require_head(engine)
            results = _ingest_partitions(
                context,
                engine,
                object_store.open_for(engine),
                key_date_patterns=key_date_patterns,
                object_keys=config.object_keys,
                budget=budget,
                write_concurrency=write_concurrency,
                max_memory_bytes=max_memory_bytes,
            )
        if any(result.errors for result in results.values()):
            _record_successes_and_fail(context, catalog, results)
        for partition_key, result in results.items():
            context.add_asset_metadata(result.metadata, partition_key=partition_key)
        return dg.MaterializeResult()

    return twap_status


@dataclass(frozen=True)
class _PartitionResult:
    """Outcome of one partition: its metadata, and one message per failed object."""

    metadata: PartitionMetadata
    errors: list[str]


def _ingest_partitions(
    context: dg.AssetExecutionContext,
    engine: "Engine",
    store: "ObjectStore",
    *,
    key_date_patterns: Sequence[str],
    object_keys: Sequence[str],
    budget: ByteBudget,
    write_concurrency: int,
    max_memory_bytes: int,
) -> dict[str, _PartitionResult]:
    """Ingest the pending objects of the run's partitions and return the result per partition key.

    Raises:
        BudgetExceededError: The pending objects exceed the budget; nothing was read.
    """
    from twap_pipeline.ingest.day_listing import list_days
    from twap_pipeline.ingest.load import ingest_objects, record_refusals
    from twap_pipeline.ingest.refusals import RefusalStreak

    days = [date.fromisoformat(partition_key) for partition_key in context.partition_keys]
    listed = list_days(store, engine, days, key_date_patterns)
    keys = [ref.key for refs in listed.values() for ref in refs]
    with engine.connect() as connection:
        entries, read_today = read_ingest_log(connection, keys), bytes_read_today(connection)
    plans = {day: ingest_plan.plan(listed.get(day, []), entries, only=object_keys) for day in days}
    budget.enforce([ref for plan in plans.values() for ref in plan.pending], read_today)
    partition_results: dict[str, _PartitionResult] = {}
    refusals = RefusalStreak()
    for number, (day, plan) in enumerate(plans.items(), start=1):
        started = time.perf_counter()
        results = ingest_objects(
            store,
            engine,
            plan.pending,
            day,
            run_id=context.run.run_id,
            connections=write_concurrency,
            max_memory_bytes=max_memory_bytes,
            refusals=refusals,
        )
        duration_seconds = time.perf_counter() - started
        with engine.connect() as connection:
            state = status_partition(connection, day)
        metadata = status_metadata(state, results, duration_seconds)
        errors = [f"{result.ref.key}: {result.error}" for result in results if result.error]
        errors += [
            f"{ref.key}: parked after {entries[ref.key].failed_attempts} failed attempts: {entries[ref.key].error_text}"
            for ref in plan.parked
        ]
        partition_results[day.isoformat()] = _PartitionResult(metadata, errors)
        context.log.info(
            f"partition {day} ({number} of {len(plans)}): {len(results)} objects read, {len(errors)} objects failed"
        )
        for error in errors:
            context.log.error(error)
    record_refusals(engine, refusals.end())
    return partition_results


def _record_successes_and_fail(
    context: dg.AssetExecutionContext, catalog: AssetCatalog, results: Mapping[str, _PartitionResult]
) -> None:
    """Record the partitions without errors as materialized and the others as observed, then fail the run.

    Raises:
        dagster.Failure: Always. Its metadata lists the failed objects under `FAILED_OBJECTS_KEY`.
    """
    tags = provenance_tags(context.instance, catalog.source_key, list(results), STATUS_CODE_VERSION)
    for partition_key, result in results.items():
        event = (
            dg.AssetObservation(catalog.status_key, partition=partition_key, metadata=result.metadata)
            if result.errors
            else dg.AssetMaterialization(
                catalog.status_key, partition=partition_key, metadata=result.metadata, tags=tags[partition_key]
            )
        )
        context.log_event(event)
    failed = [partition_key for partition_key, result in results.items() if result.errors]
    errors = [error for result in results.values() for error in result.errors]
    raise dg.Failure(
        describe_failed_objects(errors, failed, len(results)),
        metadata={
            FAILED_OBJECTS_KEY: dg.MetadataValue.md("\n".join(f"- `{error}`" for error in errors[:_MAX_FAILED_OBJECTS]))
        },
        allow_retries=False,
    )
