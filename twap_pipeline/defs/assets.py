"""The table asset of each data set, and what all assets of the package share.

An asset body lists objects, calls `ingest` and records metadata per partition. How an object is loaded belongs to
`ingest`; the downstream assets are in `orders`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.columns import table_schema
from twap_pipeline.defs.data_sets import DataSetDefinition
from twap_pipeline.defs.event_log import provenance_tags
from twap_pipeline.defs.failures import describe_failed_objects, plain_failure
from twap_pipeline.defs.partition_metadata import PartitionMetadata, fills_metadata, status_metadata
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.defs.uncounted_runs import tag_refused_run
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.domain.fill_columns import FILL_COLUMN_DESCRIPTIONS
from twap_pipeline.domain.status import CONTENT_COLUMN_DESCRIPTIONS, KEY_COLUMN_DESCRIPTIONS
from twap_pipeline.ingest import plan as ingest_plan
from twap_pipeline.settings import Settings
from twap_pipeline.storage.ingest_log import bytes_read_today, read_ingest_log
from twap_pipeline.storage.reports.partition_state import fills_partition, status_partition
from twap_pipeline.storage.schema import models

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

    from twap_pipeline.ingest.load import IngestResult
    from twap_pipeline.source.base import ObjectStore

STATUS_CODE_VERSION = "1"
"""Increase it when a code change makes the same objects result in different rows."""

FILLS_CODE_VERSION = "1"
"""Increase it when a code change makes the same objects result in different fills."""

FAILED_OBJECTS_KEY = "twap/failed_objects"
"""Metadata key of a Failure that objects caused; every other object of the run is loaded and recorded."""

_MAX_FAILED_OBJECTS = 100
_OBJECT_COLUMNS = {
    "s3_object_key": "Key of the object that the row was read from; the ingest log has the object's details.",
    "s3_last_modified": "LastModified of that object; breaks ties of the precedence rule.",
    "inserted_at": "Time at which the row was written.",
}
_STATUS_COLUMNS = {**KEY_COLUMN_DESCRIPTIONS, **CONTENT_COLUMN_DESCRIPTIONS, **_OBJECT_COLUMNS}
_FILL_COLUMNS = {**FILL_COLUMN_DESCRIPTIONS, **_OBJECT_COLUMNS}


class IngestConfig(dg.Config):
    """Which objects the run ingests."""

    object_keys: list[str] = Field(
        default=[],
        description="Ingest only the objects with these keys, even if they are parked. Select the partition of their"
        " day, too. Empty: ingest all new objects of the selected partitions.",
    )


@dataclass(frozen=True)
class _TableAsset:
    """What an asset of a data set shows, and how the metadata of a partition are read.

    ``read_metadata`` gets the day of the partition, and the results and the duration of the run.
    """

    description: str
    code_version: str
    columns: Mapping[str, str]
    table: "Table"
    read_metadata: "Callable[[Connection, date, Sequence[IngestResult], float], PartitionMetadata]"


_TABLE_ASSETS = {
    TWAP_STATUS.name: _TableAsset(
        description="One row per status event of a TWAP order, with exact decimals and the key of its source object. An"
        " order normally has two events: activated (executed size 0), then finished, terminated or error.",
        code_version=STATUS_CODE_VERSION,
        columns=_STATUS_COLUMNS,
        table=models.twap_status,
        read_metadata=lambda connection, day, results, seconds: status_metadata(
            status_partition(connection, day), results, seconds
        ),
    ),
    TWAP_FILLS.name: _TableAsset(
        description="One row per fill of a TWAP order: the slices that the exchange executed, with price, size, fee and"
        " realized profit as exact decimals, and the key of the source object. twap_id joins twap_orders.",
        code_version=FILLS_CODE_VERSION,
        columns=_FILL_COLUMNS,
        table=models.twap_fills,
        read_metadata=lambda connection, day, results, seconds: fills_metadata(
            fills_partition(connection, day), results, seconds
        ),
    ),
}
"""Name of a data set → what its assets show."""


def build_table_asset(definition: DataSetDefinition, max_partitions_per_run: int) -> dg.AssetsDefinition:
    """Return the asset of the table of a data set, partitioned by UTC day of the object."""
    table_name, asset = definition.data_set.name, _TABLE_ASSETS[definition.data_set.name]

    @dg.asset(
        key=definition.table_key,
        deps=[definition.source_key],
        partitions_def=definition.partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=definition.catalog.group,
        owners=list(definition.catalog.owners),
        kinds={"postgres", "python"},
        code_version=asset.code_version,
        pool=table_name,
        freshness_policy=definition.freshness,
        tags={"feed": "hyperliquid", "cost": "requester-pays"},
        description=(
            f"{asset.description} Materializing a day loads its objects that are not loaded yet; it does not load an"
            " object twice."
        ),
        metadata={
            "dagster/table_name": table_name,
            "dagster/column_schema": table_schema(asset.table, asset.columns),
        },
    )
    def load_objects(
        context: dg.AssetExecutionContext,
        config: IngestConfig,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
    ) -> dg.MaterializeResult[None]:
        with plain_failure(), tag_refused_run(context), database.engine_at_head() as engine:
            results = _ingest_partitions(
                context,
                definition,
                engine,
                object_store.open_for(engine, definition.data_set),
                settings=database.settings,
                object_keys=config.object_keys,
            )
        if any(result.errors for result in results.values()):
            _record_successes_and_fail(context, definition, results)
        for partition_key, result in results.items():
            context.add_asset_metadata(result.metadata, partition_key=partition_key)
        return dg.MaterializeResult()

    return load_objects


@dataclass(frozen=True)
class _PartitionResult:
    """Outcome of one partition: its metadata, and one message per failed object."""

    metadata: PartitionMetadata
    errors: list[str]


def _ingest_partitions(
    context: dg.AssetExecutionContext,
    definition: DataSetDefinition,
    engine: "Engine",
    store: "ObjectStore",
    *,
    settings: Settings,
    object_keys: Sequence[str],
) -> dict[str, _PartitionResult]:
    """Ingest the pending objects of the run's partitions and return the result per partition key.

    Raises:
        BudgetExceededError: The pending objects exceed the budget; nothing was read.
    """
    from twap_pipeline.ingest.day_listing import list_days
    from twap_pipeline.ingest.load import ingest_objects, record_refusals
    from twap_pipeline.ingest.refusals import RefusalStreak

    days = [date.fromisoformat(partition_key) for partition_key in context.partition_keys]
    listed = list_days(store, engine, days, definition.key_date_patterns)
    keys = [ref.key for refs in listed.values() for ref in refs]
    with engine.connect() as connection:
        entries = read_ingest_log(connection, keys, data_set=definition.data_set)
        read_today = bytes_read_today(connection)
    plans = {day: ingest_plan.plan(listed.get(day, []), entries, only=object_keys) for day in days}
    ingest_plan.check_budget(
        [ref for plan in plans.values() for ref in plan.pending],
        max_bytes=settings.max_bytes_per_run,
        max_bytes_today=settings.max_bytes_per_day,
        read_today_bytes=read_today,
    )
    partition_results: dict[str, _PartitionResult] = {}
    asset = _TABLE_ASSETS[definition.data_set.name]
    refusals = RefusalStreak()
    for number, (day, plan) in enumerate(plans.items(), start=1):
        started = time.perf_counter()
        results = ingest_objects(
            store,
            engine,
            plan.pending,
            day,
            run_id=context.run.run_id,
            connections=settings.write_concurrency,
            max_memory_bytes=settings.max_memory_mb * 1_000_000,
            refusals=refusals,
            data_set=definition.data_set,
        )
        duration_seconds = time.perf_counter() - started
        with engine.connect() as connection:
            metadata = asset.read_metadata(connection, day, results, duration_seconds)
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
    context: dg.AssetExecutionContext, definition: DataSetDefinition, results: Mapping[str, _PartitionResult]
) -> None:
    """Record the partitions without errors as materialized and the others as observed, then fail the run.

    Raises:
        dagster.Failure: Always. Its metadata lists the failed objects under `FAILED_OBJECTS_KEY`.
    """
    code_version = _TABLE_ASSETS[definition.data_set.name].code_version
    tags = provenance_tags(context.instance, definition.source_key, list(results), code_version)
    for partition_key, result in results.items():
        event = (
            dg.AssetObservation(definition.table_key, partition=partition_key, metadata=result.metadata)
            if result.errors
            else dg.AssetMaterialization(
                definition.table_key, partition=partition_key, metadata=result.metadata, tags=tags[partition_key]
            )
        )
        context.log_event(event)
    failed = [partition_key for partition_key, result in results.items() if result.errors]
    errors = [error for result in results.values() for error in result.errors]
    raise dg.Failure(
        describe_failed_objects(errors, failed, len(results), definition.data_set),
        metadata={
            FAILED_OBJECTS_KEY: dg.MetadataValue.md("\n".join(f"- `{error}`" for error in errors[:_MAX_FAILED_OBJECTS]))
        },
        allow_retries=False,
    )
