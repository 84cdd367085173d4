"""Asset checks: the tables' standing questions, and whether source and schema agree with it.

What a sound table is stands in `storage.checks`; here is only who is told, and how loudly: ERROR where figures are
wrong, WARN where a person should look.
"""

from typing import TYPE_CHECKING

import dagster as dg

from twap_pipeline.defs.assets import STATUS_KEY
from twap_pipeline.defs.markdown import table
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource
from twap_pipeline.domain.object_ref import day_layouts
from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.settings import load_settings

if TYPE_CHECKING:
    from twap_pipeline.storage.checks import Answer, TableCheck


def build_asset_checks() -> list[dg.AssetChecksDefinition]:
    """Return every check."""
    from twap_pipeline.storage.checks import CHECKS

    return [*(_table_check(check) for check in CHECKS), _ledger_agrees_with_listing, _schema_at_head]


def _table_check(check: "TableCheck") -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=dg.AssetKey(check.table), name=check.name, description=check.meaning)
    def table_check(database: DatabaseResource) -> dg.AssetCheckResult:
        from twap_pipeline.storage.checks import ask

        with database.engine() as engine, engine.connect() as connection:
            answer = ask(connection, check)
        return dg.AssetCheckResult(
            passed=answer.count == 0,
            severity=dg.AssetCheckSeverity.ERROR if check.grave else dg.AssetCheckSeverity.WARN,
            description=None if answer.count == 0 else f"{answer.count} found",
            metadata={"found": answer.count, **_examples(answer)},
        )

    return table_check


def _examples(answer: "Answer") -> dict[str, dg.MetadataValue[str]]:
    if not answer.examples:
        return {}
    return {"examples": dg.MetadataValue.md(table(answer.columns, answer.examples))}


@dg.asset_check(
    asset=STATUS_KEY,
    name="ledger_agrees_with_listing",
    description="Listing, ledger and rows agree, as `twap-pipeline audit` sees them; lists the whole source.",
)
def _ledger_agrees_with_listing(database: DatabaseResource, object_store: ObjectStoreResource) -> dg.AssetCheckResult:
    from twap_pipeline.ingest.audit import audit, disagree

    settings = load_settings()
    layouts, listing = day_layouts(settings.key_layout), object_store.open().list_objects()
    with database.engine() as engine:
        found = audit(engine, listing, settings.start_date, layouts)
    lines = [f"- **{one.kind}** ({len(one.touched)}): {one.meaning}; {', '.join(one.touched[:5])}" for one in found]
    return dg.AssetCheckResult(
        passed=not disagree(found),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"disagreements": dg.MetadataValue.md("\n".join(lines) or "none")},
    )


@dg.asset_check(
    asset=STATUS_KEY,
    name="schema_at_head",
    description="The database is at this code's Alembic revision and its tables are as declared.",
)
def _schema_at_head(database: DatabaseResource) -> dg.AssetCheckResult:
    from twap_pipeline.storage.migrations import drift, require_head

    with database.engine() as engine:
        try:
            said, differences = require_head(engine).said, []
            with engine.connect() as connection:
                differences = drift(connection)
        except SchemaRevisionError as error:
            said, differences = str(error), [str(error)]
    return dg.AssetCheckResult(
        passed=not differences,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"revision": said, "differences": dg.MetadataValue.json(differences)},
    )
