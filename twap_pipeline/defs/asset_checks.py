"""Asset checks: the tables' standing questions, and whether source and schema agree with it.

What a sound table is stands in `storage.checks`; here is only who is told, and how loudly: ERROR where figures are
wrong, WARN where a person should look.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG

from twap_pipeline.defs.assets import STATUS_KEY
from twap_pipeline.defs.markdown import table
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.settings import load_settings

if TYPE_CHECKING:
    from twap_pipeline.storage.audit.data_checks import CheckResult, TableCheck


def build_asset_checks() -> list[dg.AssetChecksDefinition]:
    """Return every check.

    Those that read whole tables or list the whole source leave a backfill's runs alone: each of its runs would do so
    once more. They are asked at night, by the job, and by a click.
    """
    from twap_pipeline.storage.audit.data_checks import CHECKS

    tables = dict.fromkeys(check.table for check in CHECKS)
    return [
        *(_table_checks(table, [check for check in CHECKS if check.table == table]) for table in tables),
        _ingest_log_matches_source,
        _schema_at_head,
    ]


def _table_checks(table: str, checks: Sequence["TableCheck"]) -> dg.AssetChecksDefinition:
    asset = dg.AssetKey(table)

    @dg.multi_asset_check(
        name=f"{table}_table_checks",
        specs=[dg.AssetCheckSpec(check.name, asset=asset, description=check.description) for check in checks],
        can_subset=True,
    )
    def standing_questions(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> Iterator[dg.AssetCheckResult]:
        from twap_pipeline.storage.audit.data_checks import run_check

        if _is_backfill_run(context):
            return
        with database.engine() as engine:
            for check in checks:
                if dg.AssetCheckKey(asset, check.name) in context.selected_asset_check_keys:
                    with engine.connect() as connection:
                        yield _result(asset, check, run_check(connection, check))

    return standing_questions


def _is_backfill_run(context: dg.AssetCheckExecutionContext) -> bool:
    is_one = BACKFILL_ID_TAG in context.run.tags
    if is_one:
        context.log.info("left to the job check_twap_status: a backfill's runs do not read the whole tables")
    return is_one


def _result(asset: dg.AssetKey, check: "TableCheck", answer: "CheckResult") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=check.name,
        passed=answer.count == 0,
        severity=dg.AssetCheckSeverity.ERROR if check.is_error else dg.AssetCheckSeverity.WARN,
        description=None if answer.count == 0 else f"{answer.count} found",
        metadata={"found": answer.count, **_examples(answer)},
    )


def _examples(answer: "CheckResult") -> dict[str, dg.MetadataValue[str]]:
    if not answer.examples:
        return {}
    return {"examples": dg.MetadataValue.md(table(answer.columns, answer.examples))}


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "ingest_log_matches_source",
            asset=STATUS_KEY,
            description="Listing, ledger and rows agree, as `twap-pipeline audit` sees them; lists the whole source.",
        )
    ],
    can_subset=True,
)
def _ingest_log_matches_source(
    context: dg.AssetCheckExecutionContext, database: DatabaseResource, object_store: ObjectStoreResource
) -> Iterator[dg.AssetCheckResult]:
    from twap_pipeline.ingest.audit import audit, has_errors

    if _is_backfill_run(context):
        return
    settings = load_settings()
    key_date_patterns, listing = (
        resolve_key_date_patterns(settings.key_date_pattern),
        object_store.open().list_objects(),
    )
    with database.engine() as engine:
        found = audit(engine, listing, settings.start_date, key_date_patterns)
    lines = [
        f"- **{one.code}** ({len(one.examples)}): {one.description}; {', '.join(one.examples[:5])}" for one in found
    ]
    yield dg.AssetCheckResult(
        passed=not has_errors(found),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"disagreements": dg.MetadataValue.md("\n".join(lines) or "none")},
    )


@dg.asset_check(
    asset=STATUS_KEY,
    name="schema_at_head",
    description="The database is at this code's Alembic revision and its tables are as declared.",
)
def _schema_at_head(database: DatabaseResource) -> dg.AssetCheckResult:
    from twap_pipeline.storage.schema.drift import drift
    from twap_pipeline.storage.schema.revision_gate import require_head

    with database.engine() as engine:
        try:
            said, differences = require_head(engine).message, []
            with engine.connect() as connection:
                differences = drift(connection)
        except SchemaRevisionError as error:
            said, differences = str(error), [str(error)]
    return dg.AssetCheckResult(
        passed=not differences,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"revision": said, "differences": dg.MetadataValue.json(differences)},
    )
