"""Jobs that are no assets: look at the source, audit, and give parked objects another chance."""

import dagster as dg

from twap_pipeline.defs.assets import SOURCE_KEY, enforce_byte_budget
from twap_pipeline.defs.event_log import record_source_days
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource, SchemaGuard
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.settings import load_settings


@dg.op(description="Lists the source and records each day whose set of objects changed.")
def observe_source(context: dg.OpExecutionContext, object_store: ObjectStoreResource) -> None:
    """Make the days of the source visible, and what hangs on a changed day stale."""
    from twap_pipeline.ingest.plan import group_by_day

    store = object_store.open()
    days = group_by_day(store.list_objects(), resolve_key_date_patterns(load_settings().key_date_pattern))
    changed = record_source_days(context.instance, SOURCE_KEY, store.url, days)
    context.log.info(f"{len(days)} days have objects, {len(changed)} are new or changed")


class AuditConfig(dg.Config):
    """How far an audit goes.

    Args:
        deep: Read every loaded object again and compare it row by row.
        requeue: As deep, and let objects whose rows are wrong be taken again.
    """

    deep: bool = False
    requeue: bool = False


@dg.op(description="Holds listing, ledger and rows against each other; fails if they has_errors.")
def run_audit(
    context: dg.OpExecutionContext,
    config: AuditConfig,
    database: DatabaseResource,
    object_store: ObjectStoreResource,
    schema_guard: SchemaGuard,
) -> None:
    """Fail with every disagreement named; a notice is only logged."""
    from twap_pipeline.ingest.audit import audit
    from twap_pipeline.ingest.deep_audit import deep_audit, loaded_objects
    from twap_pipeline.storage.ingest_log import bytes_read_today

    settings, store = load_settings(), object_store.open()
    key_date_patterns, listing = resolve_key_date_patterns(settings.key_date_pattern), list(store.list_objects())
    with database.engine() as engine:
        schema_guard.require_head(engine)
        found = audit(engine, listing, settings.start_date, key_date_patterns)
        if config.deep or config.requeue:
            refs = loaded_objects(engine, listing, settings.start_date, key_date_patterns)
            with engine.connect() as connection:
                enforce_byte_budget(refs, bytes_read_today(connection))
            read = deep_audit(store, engine, refs, key_date_patterns, requeue=config.requeue)
            found += read.found
            context.log.info(f"{len(refs)} objects read; mended: {read.mended}")
    for one in found:
        told = f"{one.code} ({len(one.examples)}): {one.description}: {', '.join(one.examples[:20])}"
        (context.log.info if one.is_informational else context.log.error)(told)
    if wrong := [one for one in found if not one.is_informational]:
        kinds = ", ".join(f"{one.code} ({len(one.examples)})" for one in wrong)
        raise dg.Failure(f"listing, ledger and rows has_errors: {kinds}", allow_retries=False)


@dg.op(description="Gives every parked object its attempts back; the sensor or the next run of its day takes it.")
def unpark_objects(context: dg.OpExecutionContext, database: DatabaseResource, schema_guard: SchemaGuard) -> None:
    """Log the keys that will be taken again."""
    from twap_pipeline.storage.ingest_log import reset_attempts

    with database.engine() as engine:
        schema_guard.require_head(engine)
        with engine.begin() as connection:
            keys = reset_attempts(connection)
    context.log.info(f"{len(keys)} parked objects will be taken again: {', '.join(keys[:50])}")


@dg.job(description="Lists the source and shows which days have objects, and which changed.")
def observe_twap_s3_objects() -> None:
    """Observe the source."""
    observe_source()


@dg.job(description="Listing against ledger against rows; fails if they has_errors.")
def audit_twap_status() -> None:
    """Audit."""
    run_audit()


@dg.job(description="Lets parked objects be taken again, after a look at why they failed.")
def retry_parked_objects() -> None:
    """Unpark."""
    unpark_objects()


OPERATIONS: tuple[dg.JobDefinition, ...] = (observe_twap_s3_objects, audit_twap_status, retry_parked_objects)
