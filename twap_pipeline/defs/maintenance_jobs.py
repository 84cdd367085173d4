"""Op jobs for maintenance: observe the source, audit the tables, and retry parked objects."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.assets import ByteBudget, observe_source
from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.failures import plain_failure
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource, SchemaGuard
from twap_pipeline.storage.ingest_log import reset_attempts

_MAX_LOGGED_EXAMPLES = 20
_MAX_NAMED_EXAMPLES = 3
_MAX_LOGGED_KEYS = 50


class AuditConfig(dg.Config):
    """How much the audit reads, and whether it repairs."""

    deep: bool = Field(
        default=False,
        description="Read every loaded object again and compare it with the stored rows. Costs one GET per object.",
    )
    requeue: bool = Field(
        default=False,
        description="Read like `deep`, delete the rows of objects that differ, and let the next run ingest them again.",
    )


def build_maintenance_jobs(
    catalog: AssetCatalog,
    partitions: dg.DailyPartitionsDefinition,
    key_date_patterns: Sequence[str],
    *,
    start_date: date,
    budget: ByteBudget,
) -> list[dg.JobDefinition]:
    """Return the maintenance jobs.

    Args:
        catalog: The asset keys.
        partitions: The partitions of the source.
        key_date_patterns: Regular expressions that find the date in a key, in order of preference.
        start_date: First partition; an audit ignores earlier objects.
        budget: Limits of the object bytes that a deep audit reads.
    """
    return [
        _build_observe_job(catalog, partitions, key_date_patterns),
        _build_audit_job(key_date_patterns, start_date, budget),
        _retry_parked_objects,
    ]


def _build_observe_job(
    catalog: AssetCatalog, partitions: dg.DailyPartitionsDefinition, key_date_patterns: Sequence[str]
) -> dg.JobDefinition:
    @dg.op(name="observe_source", description="Lists the source and records each day whose objects changed.")
    def observe_source_op(
        context: dg.OpExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
        schema_guard: dg.ResourceParam[SchemaGuard],
    ) -> None:
        with plain_failure(), database.engine() as engine:
            schema_guard.require_head(engine)
            store = object_store.open_for(engine)
            observe_source(
                context,
                catalog.source_key,
                engine,
                store,
                partitions=partitions,
                key_date_patterns=key_date_patterns,
            )

    @dg.job(
        executor_def=dg.in_process_executor,
        description="Lists the source and shows which days have objects and which changed. Loads nothing.",
    )
    def observe_twap_s3_objects() -> None:
        observe_source_op()

    return observe_twap_s3_objects


def _build_audit_job(key_date_patterns: Sequence[str], start_date: date, budget: ByteBudget) -> dg.JobDefinition:
    @dg.op(description="Compares the listing of the source, the ingest log and the stored rows; fails if they differ.")
    def run_audit(
        context: dg.OpExecutionContext,
        config: AuditConfig,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
        schema_guard: dg.ResourceParam[SchemaGuard],
    ) -> None:
        from twap_pipeline.ingest import audit_runner

        with plain_failure(), database.engine() as engine:
            schema_guard.require_head(engine)
            store = object_store.open_for(engine)
            report = audit_runner.run_audit(
                store,
                engine,
                since=start_date,
                key_date_patterns=key_date_patterns,
                deep=config.deep,
                requeue=config.requeue,
                max_bytes_per_run=budget.max_bytes_per_run,
                max_bytes_per_day=budget.max_bytes_per_day,
                timeout_seconds=database.settings.maintenance_timeout_seconds,
            )
        if report.repair is not None:
            context.log.info(
                f"{report.objects_read} objects read; repair: requeued {len(report.repair.requeued)} objects, deleted"
                f" {report.repair.deleted} rows and {report.repair.deleted_quarantined} quarantined rows, wrote"
                f" {report.repair.orders_written} orders and deleted {report.repair.orders_deleted}"
            )
        for finding in report.findings:
            examples = ", ".join(finding.examples[:_MAX_LOGGED_EXAMPLES])
            log = context.log.info if finding.is_informational else context.log.error
            log(f"{finding.code} ({finding.count}): {finding.description}: {examples}")
        if errors := [finding for finding in report.findings if not finding.is_informational]:
            lines = ["source listing, ingest log and rows differ:"]
            for finding in errors:
                examples = ", ".join(finding.examples[:_MAX_NAMED_EXAMPLES])
                lines.append(f"- {finding.code} ({finding.count}): {finding.description}: {examples}")
            raise dg.Failure("\n".join(lines), allow_retries=False)

    @dg.job(
        executor_def=dg.in_process_executor,
        description="Compares the listing of the source, the ingest log and the stored rows; fails if they differ. The"
        " Launchpad has options to read every object again, and to repair.",
    )
    def audit_twap_status() -> None:
        run_audit()

    return audit_twap_status


@dg.op(
    name="unpark_objects",
    description="Sets the failed attempts of parked objects to 0: the next run of ingest_twap_status loads them.",
)
def _unpark_objects(
    context: dg.OpExecutionContext,
    database: dg.ResourceParam[DatabaseResource],
    schema_guard: dg.ResourceParam[SchemaGuard],
) -> None:
    with plain_failure(), database.engine() as engine:
        schema_guard.require_head(engine)
        with engine.begin() as connection:
            keys = reset_attempts(connection)
    context.log.info(f"reset {len(keys)} parked objects: {', '.join(keys[:_MAX_LOGGED_KEYS])}")


@dg.job(
    name="retry_parked_objects",
    executor_def=dg.in_process_executor,
    description="Releases parked objects: the next run of ingest_twap_status loads them. Loads nothing itself.",
)
def _retry_parked_objects() -> None:
    _unpark_objects()
