"""The command that holds listing, ledger, rows and, if asked, the objects themselves against each other."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from twap_pipeline.cli import tables
from twap_pipeline.cli.context import database, source
from twap_pipeline.cli.ingest import SHOWN_FAILURES, set_source_url, source_option
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.source.s3_pricing import get_cost_usd

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.domain.object_ref import ObjectRef
    from twap_pipeline.ingest.audit import AuditFinding
    from twap_pipeline.ingest.deep_audit import DeepAuditResult
    from twap_pipeline.settings import Settings
    from twap_pipeline.source.base import ObjectStore
    from twap_pipeline.storage.audit.repair import RepairResult


@click.command()
@source_option
@click.option("--deep", is_flag=True, help="Read every loaded object again and compare it row by row.")
@click.option("--requeue", is_flag=True, help="As --deep, and let objects whose rows are wrong be taken again.")
def audit(source_url: str | None, *, deep: bool, requeue: bool) -> None:
    """Hold ledger, listing and rows against each other; exit status 1 if they has_errors."""
    from twap_pipeline.ingest.audit import audit as compare
    from twap_pipeline.ingest.audit import has_errors
    from twap_pipeline.storage.schema.revision_gate import require_head

    settings = set_source_url(source_url)
    store = source(settings)
    with database(settings) as (engine, _):
        require_head(engine)
        listing = list(store.list_objects())
        found = compare(engine, listing, settings.start_date, resolve_key_date_patterns(settings.key_date_pattern))
        if deep or requeue:
            read = _read_objects(settings, store, engine, listing, requeue=requeue)
            found += read.found
            _print_findings(found)
            _print_repair(read.mended)
        else:
            _print_findings(found)
    if has_errors(found):
        raise SystemExit(1)
    click.echo(f"{'objects, ' if deep or requeue else ''}listing of {store.url}, ledger and rows agree")


def _read_objects(
    settings: "Settings",
    store: "ObjectStore",
    engine: "Engine",
    listing: "Sequence[ObjectRef]",
    *,
    requeue: bool,
) -> "DeepAuditResult":
    """Tell what reading costs, hold it against the budgets, and read."""
    from twap_pipeline.ingest.deep_audit import deep_audit, loaded_objects
    from twap_pipeline.ingest.plan import check_budget
    from twap_pipeline.storage.ingest_log import bytes_read_today

    key_date_patterns = resolve_key_date_patterns(settings.key_date_pattern)
    refs = loaded_objects(engine, listing, settings.start_date, key_date_patterns)
    size_bytes = sum(ref.size_bytes for ref in refs)
    dollars = get_cost_usd(len(refs), size_bytes)
    click.echo(f"reads {len(refs):,} objects, {tables.size(size_bytes)}, ${dollars:.6f} from outside the region")
    with engine.connect() as connection:
        read_today = bytes_read_today(connection)
    check_budget(
        refs,
        max_bytes=settings.max_bytes_per_run,
        max_bytes_today=settings.max_bytes_per_day,
        read_today_bytes=read_today,
    )
    return deep_audit(store, engine, refs, key_date_patterns, requeue=requeue)


def _print_findings(found: "Iterable[AuditFinding]") -> None:
    for one in found:
        click.echo(f"{one.code} ({len(one.examples)}): {one.description}")
        for touched in one.examples[:SHOWN_FAILURES]:
            click.echo(f"  {touched}")
        if (more := len(one.examples) - SHOWN_FAILURES) > 0:
            click.echo(f"  … and {more} more")


def _print_repair(mended: "RepairResult | None") -> None:
    if mended is None:
        return
    if not mended.has_changes:
        click.echo("nothing was mended: no object's rows or account are wrong")
        return
    click.echo(f"requeued {len(mended.requeued)} objects: `twap-pipeline ingest` takes them again")
    for key in mended.requeued[:SHOWN_FAILURES]:
        click.echo(f"  {key}")
    if mended.deleted or mended.deleted_quarantined:
        click.echo(
            f"deleted {mended.deleted} wrong rows and {mended.deleted_quarantined} quarantined rows of no object"
        )
    if mended.adjustment:
        click.echo(
            f"adjustment the ledger's sum by {mended.adjustment:+} rows, in the history of {mended.adjusted_key}"
        )
