"""The source asset of each data set: the objects by UTC day. Observing it lists objects and reads none."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.defs.data_sets import DataSetDefinition
from twap_pipeline.defs.event_log import record_source_partitions
from twap_pipeline.defs.failures import plain_failure
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS
from twap_pipeline.ingest import plan as ingest_plan
from twap_pipeline.source.selection import SkippedObjects, join_keys

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.source.base import ObjectStore

_DESCRIPTIONS = {
    TWAP_STATUS.name: "Parquet objects with the statuses of Hyperliquid TWAP orders, by UTC day of the object.",
    TWAP_FILLS.name: "Parquet objects with the fills of Hyperliquid TWAP orders, by UTC day of the object, from"
    " the folders of TWAP_FILLS_PREFIXES.",
}


def build_source_asset(definition: DataSetDefinition) -> dg.SourceAsset:
    """Return the source asset of a data set: the objects of its source, partitioned by UTC day of the object.

    A source asset of Dagster has no owners.
    """

    @dg.observable_source_asset(
        key=definition.source_key,
        partitions_def=definition.partitions,
        group_name=definition.catalog.group,
        description=(
            f"{_DESCRIPTIONS[definition.data_set.name]} A day has a new data version when an object"
            " was added, overwritten or deleted. Observing lists objects and reads none."
        ),
        tags={"dagster/kind/s3": "", "dagster/kind/parquet": ""},
    )
    def observe_objects(
        context: dg.AssetExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
    ) -> dg.DataVersionsByPartition:
        with plain_failure(), database.engine_at_head() as engine:
            store = object_store.open_for(engine, definition.data_set)
            if context.has_partition_key or context.has_partition_key_range:
                observe_days(context, definition, engine, store)
            else:
                observe_source(context, definition, engine, store)
        return dg.DataVersionsByPartition({})  # the lines above recorded them, with metadata

    return observe_objects


def observe_days(
    context: dg.AssetExecutionContext, definition: DataSetDefinition, engine: "Engine", store: "ObjectStore"
) -> None:
    """List the selected days and record each changed partition in the event log."""
    from twap_pipeline.ingest.day_listing import list_days

    days = [date.fromisoformat(partition_key) for partition_key in context.partition_keys]
    refs_by_date = list_days(store, engine, days, definition.key_date_patterns)
    changed = record_source_partitions(context.instance, definition.source_key, store.url, refs_by_date)
    context.log.info(f"{len(refs_by_date)} of {len(days)} partitions have objects; {len(changed)} are new or changed")


def observe_source(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    definition: DataSetDefinition,
    engine: "Engine",
    store: "ObjectStore",
) -> None:
    """List the whole source and record each changed partition in the event log.

    The metadata also counts the objects of the listing that no partition contains.
    """
    from twap_pipeline.ingest.day_listing import list_source

    partitions, skipped = definition.partitions, SkippedObjects()
    listed = list_source(store, engine, definition.key_date_patterns, skipped=skipped)
    refs_by_date = {day: refs for day, refs in listed.items() if partitions.has_partition_key(day.isoformat())}
    early = [ref.key for ref in ingest_plan.objects_before(listed, definition.start_date)]
    metadata = {
        "objects_before_start_date": len(early),
        "first_keys_before_start_date": join_keys(early),
        "objects_skipped": str(skipped),
    }
    changed = record_source_partitions(
        context.instance,
        definition.source_key,
        store.url,
        refs_by_date,
        listing_metadata=metadata if early or skipped else {},
    )
    context.log.info(f"{len(refs_by_date)} partitions have objects; {len(changed)} are new or changed")
    if early:
        context.log.warning(
            f"ignored {len(early)} objects before {definition.start_date}, the first partition: {join_keys(early)}"
        )
    if skipped:
        context.log.info(f"skipped objects that are not data: {skipped}")
