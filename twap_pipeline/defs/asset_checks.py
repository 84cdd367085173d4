"""Asset checks: the data checks of the tables, the comparison with the source, and the schema revision.

What a data check queries and its severity belong to `storage.audit.data_checks`; this module runs the checks in
Dagster and reports violations as metadata.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from twap_pipeline.defs.catalog import AssetCatalog
from twap_pipeline.defs.data_sets import FILLS_NAMES, STATUS_NAMES, DataSetDefinition
from twap_pipeline.defs.event_log import BACKFILL_ID_TAG
from twap_pipeline.defs.failures import plain_failure
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.defs.tables import text_table
from twap_pipeline.defs.texts import data_set_option
from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS, CheckScope, TableCheck

if TYPE_CHECKING:
    from twap_pipeline.storage.audit.data_check_runs import CheckResult

SOURCE_CHECKS = (STATUS_NAMES.source_check, FILLS_NAMES.source_check)
"""The checks that list a source."""

_MAX_EXAMPLES = 5
_SCOPE_NOTES = {
    CheckScope.DAY: " Covers the objects of every date; evaluated for the dates that changed. The job full_data_checks"
    " evaluates every date, and detects rows that were edited by hand.",
    CheckScope.TABLE: " Reads the whole table: evaluated once per UTC day, and by the job full_data_checks.",
    CheckScope.LOG: "",
}


class DataCheckConfig(dg.Config):
    """How much the data checks read."""

    full: bool = Field(default=False, description="Evaluate every date again, instead of the dates that changed.")


def build_asset_checks(catalog: AssetCatalog, data_sets: Sequence[DataSetDefinition]) -> list[dg.AssetChecksDefinition]:
    """Return all asset checks of the data sets and of the orders.

    Checks that read tables or list the source are skipped in backfill runs: each of the many runs would repeat them.
    The sensor ``stale_asset_checks`` requests one run of them after the last of these runs.
    """
    table_names = [key.path[-1] for key in checked_tables(catalog, data_sets)]
    return [
        *(
            _build_table_checks(
                name, catalog.key(name), [check for check in (*CHECKS, *FILLS_CHECKS) if check.table == name]
            )
            for name in table_names
        ),
        *(_build_source_check(definition) for definition in data_sets),
        _build_schema_check(catalog.status_key),
    ]


def checked_tables(catalog: AssetCatalog, data_sets: Sequence[DataSetDefinition]) -> list[dg.AssetKey]:
    """Return the assets whose tables have data checks: those of the data sets, and the orders."""
    return [*(definition.table_key for definition in data_sets), catalog.orders_key]


def _build_table_checks(table_name: str, asset: dg.AssetKey, checks: Sequence[TableCheck]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=table_checks_op(table_name),
        description=f"Queries {table_name} for violations of its checks.",
        specs=[
            dg.AssetCheckSpec(check.name, asset=asset, description=check.description + _SCOPE_NOTES[check.scope])
            for check in checks
        ],
        can_subset=True,
    )
    def run_table_checks(
        context: dg.AssetCheckExecutionContext,
        config: DataCheckConfig,
        database: dg.ResourceParam[DatabaseResource],
    ) -> Iterator[dg.AssetCheckResult]:
        from twap_pipeline.storage.audit.data_check_runs import run_checks

        if _skip_in_backfill_run(context):
            return
        selected = [
            check for check in checks if dg.AssetCheckKey(asset, check.name) in context.selected_asset_check_keys
        ]
        with plain_failure(), database.engine_at_head() as engine:
            for check, result in run_checks(
                engine,
                selected,
                is_full=config.full,
                timeout_seconds=database.settings.maintenance_timeout_seconds,
                log=context.log.info,
            ):
                yield dg.AssetCheckResult(
                    asset_key=asset,
                    check_name=check.name,
                    passed=result.count == 0,
                    severity=dg.AssetCheckSeverity.ERROR if check.is_error else dg.AssetCheckSeverity.WARN,
                    description=f"{result.count} violations" if result.count else None,
                    metadata=_metadata(result),
                )

    return run_table_checks


def table_checks_op(table_name: str) -> str:
    """Return the name of the op that runs the data checks of a table."""
    return f"{table_name}_table_checks"


def _metadata(result: "CheckResult") -> dict[str, Any]:
    metadata: dict[str, Any] = {"violations": result.count}
    if result.examples:
        metadata["examples"] = text_table(result.columns, result.examples)
    if result.oldest_result_at is not None:
        metadata["evaluated_dates"] = result.evaluated_dates
        metadata["oldest_result_at"] = dg.MetadataValue.timestamp(result.oldest_result_at)
    return metadata


def _skip_in_backfill_run(context: dg.AssetCheckExecutionContext) -> bool:
    is_backfill_run = BACKFILL_ID_TAG in context.run.tags
    if is_backfill_run:
        context.log.info("skipped in backfill runs; the sensor stale_asset_checks requests it after the last of them")
    return is_backfill_run


def _build_source_check(definition: DataSetDefinition) -> dg.AssetChecksDefinition:
    data_set = definition.data_set

    @dg.multi_asset_check(
        name=definition.names.source_check,
        description="Compares the listing of the source, the ingest log and the stored rows.",
        specs=[
            dg.AssetCheckSpec(
                definition.names.source_check,
                asset=definition.table_key,
                description="The listing of the source, the ingest log and the stored rows agree. If they do not, run"
                f" `twap-pipeline audit{data_set_option(data_set.name)}`, which names the objects.",
            )
        ],
        can_subset=True,
    )
    def compare_with_source(
        context: dg.AssetCheckExecutionContext,
        database: dg.ResourceParam[DatabaseResource],
        object_store: dg.ResourceParam[ObjectStoreResource],
    ) -> Iterator[dg.AssetCheckResult]:
        from twap_pipeline.ingest.audit_runner import run_audit

        if _skip_in_backfill_run(context):
            return
        with database.engine() as engine:
            report = run_audit(
                object_store.open_for(engine, data_set),
                engine,
                since=definition.start_date,
                key_date_patterns=definition.key_date_patterns,
                timeout_seconds=database.settings.maintenance_timeout_seconds,
                data_set=data_set,
            )
        lines = [
            f"- **{finding.code}** ({finding.count}): {finding.description};"
            f" {', '.join(finding.examples[:_MAX_EXAMPLES])}"
            for finding in report.findings
        ]
        yield dg.AssetCheckResult(
            passed=not report.has_errors,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"findings": dg.MetadataValue.md("\n".join(lines) or "none")},
        )

    return compare_with_source


def _build_schema_check(asset: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        description=(
            "The database has the Alembic revision, the tables and the view of this version. If not, the differences"
            " are listed; `twap-pipeline migrate` upgrades an older revision."
        ),
    )
    def schema_at_head(database: dg.ResourceParam[DatabaseResource]) -> dg.AssetCheckResult:
        from twap_pipeline.storage.schema.drift import drift
        from twap_pipeline.storage.schema.revision_gate import require_head

        with database.engine() as engine:
            try:
                revision = require_head(engine).message
                with engine.connect() as connection:
                    differences = drift(connection)
            except SchemaRevisionError as error:
                revision, differences = str(error), [str(error)]
        return dg.AssetCheckResult(
            passed=not differences,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"revision": revision, "differences": dg.MetadataValue.json(differences)},
        )

    return schema_at_head
