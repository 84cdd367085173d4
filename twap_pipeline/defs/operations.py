"""Jobs that are no assets: look at the source, audit, and give parked objects another chance."""

import dagster as dg

from twap_pipeline.defs.assets import SOURCE_KEY, keep_within_budget
from twap_pipeline.defs.materializations import record_source_days
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource, SchemaGuard
from twap_pipeline.domain.object_ref import day_layouts
from twap_pipeline.settings import load_settings


@dg.op(description="Lists the source and records each day whose set of objects changed.")
def observe_source(context: dg.OpExecutionContext, object_store: ObjectStoreResource) -> None:
    """Make the days of the source visible, and what hangs on a changed day stale."""
    from twap_pipeline.ingest.planning import group_by_day

    store = object_store.open()
    days = group_by_day(store.list_objects(), day_layouts(load_settings().key_layout))
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


@dg.op(description="Holds listing, ledger and rows against each other; fails if they disagree.")
def audit_ledger(
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
    layouts, listing = day_layouts(settings.key_layout), list(store.list_objects())
    with database.engine() as engine:
        schema_guard.require_head(engine)
        found = audit(engine, listing, settings.start_date, layouts)
        if config.deep or config.requeue:
            refs = loaded_objects(engine, listing, settings.start_date, layouts)
            with engine.connect() as connection:
                keep_within_budget(refs, bytes_read_today(connection))
            read = deep_audit(store, engine, refs, layouts, requeue=config.requeue)
            found += read.found
            context.log.info(f"{len(refs)} objects read; mended: {read.mended}")
    for one in found:
        told = f"{one.kind} ({len(one.touched)}): {one.meaning}: {', '.join(one.touched[:20])}"
        (context.log.info if one.notice else context.log.error)(told)
    if wrong := [one for one in found if not one.notice]:
        kinds = ", ".join(f"{one.kind} ({len(one.touched)})" for one in wrong)
        raise dg.Failure(f"listing, ledger and rows disagree: {kinds}", allow_retries=False)


@dg.op(description="Gives every parked object its attempts back; the sensor or the next run of its day takes it.")
def unpark_objects(context: dg.OpExecutionContext, database: DatabaseResource, schema_guard: SchemaGuard) -> None:
    """Log the keys that will be taken again."""
    from twap_pipeline.storage.ingest_log import unpark

    with database.engine() as engine:
        schema_guard.require_head(engine)
        with engine.begin() as connection:
            keys = unpark(connection)
    context.log.info(f"{len(keys)} parked objects will be taken again: {', '.join(keys[:50])}")


@dg.job(description="Lists the source and shows which days have objects, and which changed.")
def observe_twap_s3_objects() -> None:
    """Observe the source."""
    observe_source()


@dg.job(description="Listing against ledger against rows; fails if they disagree.")
def audit_twap_status() -> None:
    """Audit."""
    audit_ledger()


@dg.job(description="Lets parked objects be taken again, after a look at why they failed.")
def retry_parked_objects() -> None:
    """Unpark."""
    unpark_objects()


OPERATIONS: tuple[dg.JobDefinition, ...] = (observe_twap_s3_objects, audit_twap_status, retry_parked_objects)
