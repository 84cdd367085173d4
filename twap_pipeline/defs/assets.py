"""The assets: the bucket's objects, and the table they become. Lineage runs source → status.

An asset here only lists, asks the one use case to take what is missing, and records per day what a person wants to
see. How an object is taken is `ingest`'s.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.event_log import provenance_tags, record_source_days
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource, SchemaGuard
from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMN_DESCRIPTIONS
from twap_pipeline.errors import BudgetExceededError
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.schema import models as tables

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

    from twap_pipeline.domain.object_ref import ObjectRef
    from twap_pipeline.source.base import ObjectStore

SOURCE_KEY = dg.AssetKey("twap_s3_objects")
STATUS_KEY = dg.AssetKey("twap_status")
GROUP = "twap"
OWNERS = ("team:data",)
STATUS_CODE_VERSION = "1"
"""Raised when the same objects give other rows."""

FAILED_OBJECTS_KEY = "failed objects"
"""Metadata of a run's Failure when objects could not be taken and all else is recorded."""

_STATUS_COLUMNS = {
    **KEY_COLUMN_DESCRIPTIONS,
    **CONTENT_COLUMNS,
    "s3_object_key": "The object that holds the row; the ledger tells the rest of it.",
    "s3_last_modified": "That object's LastModified: of two equal claims the newer object's wins.",
    "inserted_at": "When the row was written.",
}


class IngestConfig(dg.Config):
    """What a run takes, when it is not simply everything that is missing.

    Args:
        object_keys: Take only these objects of the chosen days, parked or not.
    """

    object_keys: list[str] = Field(default_factory=list)


def build_source_asset(partitions: dg.DailyPartitionsDefinition, key_date_patterns: Sequence[str]) -> dg.SourceAsset:
    """Return the bucket's objects by UTC day; observing lists them and gives each changed day a new data version."""

    @dg.observable_source_asset(
        key=SOURCE_KEY,
        partitions_def=partitions,
        group_name=GROUP,
        description=(
            "Parquet objects of Hyperliquid's TWAP statuses, in a requester-pays bucket, by UTC day of the object."
            " A day's data version is the fingerprint of its (key, ETag) set."
        ),
        tags={"dagster/kind/s3": "", "dagster/kind/parquet": ""},
    )
    def twap_s3_objects(
        context: dg.AssetExecutionContext, object_store: ObjectStoreResource
    ) -> dg.DataVersionsByPartition:
        from twap_pipeline.ingest.plan import group_by_day

        store = object_store.open()
        listed = group_by_day(store.list_objects(), key_date_patterns)
        days = {day: refs for day, refs in listed.items() if partitions.has_partition_key(day.isoformat())}
        changed = record_source_days(context.instance, SOURCE_KEY, store.url, days)
        context.log.info(f"{len(days)} days have objects, {len(changed)} are new or changed")
        return dg.DataVersionsByPartition({})

    return twap_s3_objects


def build_status_asset(
    partitions: dg.DailyPartitionsDefinition, key_date_patterns: Sequence[str], max_partitions_per_run: int
) -> dg.AssetsDefinition:
    """Return the table of TWAP statuses, materialized by UTC day of the object.

    Args:
        partitions: The days.
        key_date_patterns: How keys name their day.
        max_partitions_per_run: Days of a backfill that one run takes; a run's own cost is some three seconds.
    """

    @dg.asset(
        key=STATUS_KEY,
        deps=[SOURCE_KEY],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run),
        group_name=GROUP,
        owners=list(OWNERS),
        kinds={"postgres", "python"},
        code_version=STATUS_CODE_VERSION,
        pool="twap_status",
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=48), warn_window=timedelta(hours=30)
        ),
        tags={"feed": "hyperliquid", "cost": "requester-pays"},
        description=(
            "One row per status event of a TWAP order, exact to the digit, each led back to its object."
            " An order normally has two events: activated (executed 0), then finished, terminated or error."
        ),
        metadata={
            "dagster/table_name": "twap_status",
            "dagster/column_schema": table_schema(tables.twap_status, _STATUS_COLUMNS),
        },
    )
    def twap_status(
        context: dg.AssetExecutionContext,
        config: IngestConfig,
        database: DatabaseResource,
        object_store: ObjectStoreResource,
        schema_guard: SchemaGuard,
    ) -> dg.MaterializeResult[None]:
        days = [date.fromisoformat(key) for key in context.partition_keys]
        with database.engine() as engine:
            schema_guard.require_head(engine)
            outcome = _ingest_partitions(
                context, engine, object_store.open(), days, key_date_patterns=key_date_patterns, config=config
            )
        failed = {day: errors for day, (_, errors) in outcome.items() if errors}
        if failed:
            _record_successes_and_fail(context, outcome, failed)
        for day, (metadata, _) in outcome.items():
            context.add_asset_metadata(metadata, partition_key=day)
        return dg.MaterializeResult()

    return twap_status


_Outcome = dict[str, tuple[dict[str, dg.MetadataValue[Any]], list[str]]]


def _ingest_partitions(
    context: dg.AssetExecutionContext,
    engine: "Engine",
    store: "ObjectStore",
    days: Sequence[date],
    *,
    key_date_patterns: Sequence[str],
    config: IngestConfig,
) -> _Outcome:
    """Take every day's missing objects; return per day what to show, and what failed."""
    from twap_pipeline.defs.partition_metadata import day_metadata
    from twap_pipeline.ingest.load import ingest_objects
    from twap_pipeline.ingest.plan import group_by_day, plan
    from twap_pipeline.storage.ingest_log import bytes_read_today, read_ingest_log

    listed = group_by_day(store.list_objects(), key_date_patterns)
    with engine.connect() as connection:
        ledger, read_today = read_ingest_log(connection), bytes_read_today(connection)
    plans = {day: plan(listed.get(day, []), ledger, only=config.object_keys) for day in days}
    connections = load_settings().write_concurrency
    enforce_byte_budget([ref for todo in plans.values() for ref in todo.pending], read_today)
    outcome: _Outcome = {}
    for number, (day, todo) in enumerate(plans.items(), start=1):
        started = time.perf_counter()
        results = ingest_objects(store, engine, todo.pending, day, run_id=context.run.run_id, connections=connections)
        errors = [f"{done.ref.key}: {done.error}" for done in results if done.error]
        errors += [f"{ref.key}: parked after repeated failures" for ref in todo.parked]
        rows_before = sum(ledger[ref.key].row_counts.stored for ref in todo.loaded)
        outcome[day.isoformat()] = (
            day_metadata(todo, results, rows_before=rows_before, seconds=time.perf_counter() - started),
            errors,
        )
        context.log.info(f"{day} ({number} of {len(days)}): {len(results)} objects read, {len(errors)} failed")
        for error in errors:
            context.log.error(error)
    return outcome


def enforce_byte_budget(refs: Sequence["ObjectRef"], read_today_bytes: int) -> None:
    """Raise a Failure unless the settings' budgets allow reading these objects after what was read today."""
    from twap_pipeline.ingest.plan import check_budget

    settings = load_settings()
    try:
        check_budget(
            refs,
            max_bytes=settings.max_bytes_per_run,
            max_bytes_today=settings.max_bytes_per_day,
            read_today_bytes=read_today_bytes,
        )
    except BudgetExceededError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _record_successes_and_fail(
    context: dg.AssetExecutionContext, outcome: _Outcome, failed: Mapping[str, Sequence[str]]
) -> None:
    """Record the good days as materialized and fail the run: Dagster itself records all days of a run or none."""
    tags = provenance_tags(context.instance, SOURCE_KEY, list(outcome), STATUS_CODE_VERSION)
    for day, (metadata, _) in outcome.items():
        if day not in failed:
            context.log_event(dg.AssetMaterialization(STATUS_KEY, partition=day, metadata=metadata, tags=tags[day]))
    shown = [error for errors in failed.values() for error in errors]
    raise dg.Failure(
        f"{len(failed)} of {len(outcome)} days failed ({', '.join(failed)}): {len(shown)} objects could not be taken;"
        " the other objects and days are loaded. See etl_s3_ingest_log.error_text",
        metadata={FAILED_OBJECTS_KEY: dg.MetadataValue.md("\n".join(f"- `{error}`" for error in shown[:100]))},
        allow_retries=False,
    )


def table_schema(table: "Table", meanings: Mapping[str, str]) -> dg.TableSchema:
    """Return a table's columns with their types and meaning, for the UI."""
    columns = {column.name: column for column in table.columns}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                type=str(columns[name].type).lower().replace("datetime", "timestamptz"),
                description=meaning,
                constraints=dg.TableColumnConstraints(nullable=bool(columns[name].nullable)),
            )
            for name, meaning in meanings.items()
        ]
    )
