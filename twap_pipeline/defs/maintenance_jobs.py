"""Dagster jobs without assets: list the source ("observe"), audit the tables, and retry parked objects."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.data_sets import DataSetDefinition
from twap_pipeline.defs.failures import plain_failure
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.defs.source_assets import observe_source
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


def build_maintenance_jobs(data_sets: Sequence[DataSetDefinition]) -> list[dg.JobDefinition]:
    """Return the maintenance jobs: two per data set, and one that retries the parked objects of all data sets."""
    return [
        *(_build_observe_job(definition) for definition in data_sets),
        *(_build_audit_job(definition) for definition in data_sets),
        _build_retry_job(data_sets),
    ]


def _build_observe_job(definition: DataSetDefinition) -> dg.JobDefinition:
    @dg.op(name=definition.names.observe_op, description="Lists the source and records each day whose objects changed.")
    def observe_source_op(
        context: dg.OpExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
    ) -> None:
        with plain_failure(), database.engine_at_head() as engine:
            observe_source(context, definition, engine, object_store.open_for(engine, definition.data_set))

    @dg.job(
        name=definition.names.observe_job,
        executor_def=dg.in_process_executor,
        description="Lists the source and shows which days have objects and which changed. Loads nothing.",
    )
    def observe_objects() -> None:
        observe_source_op()

    return observe_objects


def _build_audit_job(definition: DataSetDefinition) -> dg.JobDefinition:
    @dg.op(
        name=definition.names.audit_op,
        description="Compares the listing of the source, the ingest log and the stored rows; fails if they differ.",
    )
    def run_audit(
        context: dg.OpExecutionContext,
        config: AuditConfig,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
    ) -> None:
        from twap_pipeline.ingest import audit_runner

        with plain_failure(), database.engine_at_head() as engine:
            store = object_store.open_for(engine, definition.data_set)
            report = audit_runner.run_audit(
                store,
                engine,
                since=definition.start_date,
                key_date_patterns=definition.key_date_patterns,
                deep=config.deep,
                requeue=config.requeue,
                max_bytes_per_run=database.settings.max_bytes_per_run,
                max_bytes_per_day=database.settings.max_bytes_per_day,
                timeout_seconds=database.settings.maintenance_timeout_seconds,
                data_set=definition.data_set,
            )
        if report.repair is not None:
            repair = report.repair
            context.log.info(
                f"{report.objects_read} objects read; repair: requeued {len(repair.requeued)} objects, deleted"
                f" {repair.deleted_rows} rows and {repair.deleted_quarantined_rows} quarantined rows, wrote"
                f" {repair.orders_written} orders and deleted {repair.orders_deleted}"
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
        name=definition.names.audit_job,
        executor_def=dg.in_process_executor,
        description="Compares the listing of the source, the ingest log and the stored rows; fails if they differ. The"
        " Launchpad has options to read every object again, and to repair.",
    )
    def audit_tables() -> None:
        run_audit()

    return audit_tables


def _build_retry_job(data_sets: Sequence[DataSetDefinition]) -> dg.JobDefinition:
    @dg.op(description="Sets the failed attempts of parked objects to 0: the next ingest run loads them.")
    def unpark_objects(
        context: dg.OpExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
    ) -> None:
        with plain_failure(), database.engine_at_head() as engine, engine.begin() as connection:
            keys = [key for definition in data_sets for key in reset_attempts(connection, data_set=definition.data_set)]
        context.log.info(f"reset {len(keys)} parked objects: {', '.join(keys[:_MAX_LOGGED_KEYS])}")

    @dg.job(
        executor_def=dg.in_process_executor,
        description="Releases parked objects: the next ingest run loads them. Loads nothing itself.",
    )
    def retry_parked_objects() -> None:
        unpark_objects()

    return retry_parked_objects
