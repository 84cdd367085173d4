"""The command that holds listing, ledger, rows and, if asked, the objects themselves against each other."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from twap_pipeline.cli import show
from twap_pipeline.cli.context import database, source
from twap_pipeline.cli.ingest import SHOWN_FAILURES, settings_with, source_option
from twap_pipeline.domain.cost import reading_dollars
from twap_pipeline.domain.object_ref import day_layouts

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.domain.object_ref import ObjectRef
    from twap_pipeline.ingest.audit import Disagreement
    from twap_pipeline.ingest.deep_audit import DeepAudit
    from twap_pipeline.settings import Settings
    from twap_pipeline.source.object_store import ObjectStore
    from twap_pipeline.storage.mending import Mended


@click.command()
@source_option
@click.option("--deep", is_flag=True, help="Read every loaded object again and compare it row by row.")
@click.option("--requeue", is_flag=True, help="As --deep, and let objects whose rows are wrong be taken again.")
def audit(source_url: str | None, *, deep: bool, requeue: bool) -> None:
    """Hold ledger, listing and rows against each other; exit status 1 if they disagree."""
    from twap_pipeline.ingest.audit import audit as compare
    from twap_pipeline.ingest.audit import disagree
    from twap_pipeline.storage.migrations import require_head

    settings = settings_with(source_url)
    store = source(settings)
    with database(settings) as (engine, _):
        require_head(engine)
        listing = list(store.list_objects())
        found = compare(engine, listing, settings.start_date, day_layouts(settings.key_layout))
        if deep or requeue:
            read = _read_objects(settings, store, engine, listing, requeue=requeue)
            found += read.found
            _tell(found)
            _tell_mended(read.mended)
        else:
            _tell(found)
    if disagree(found):
        raise SystemExit(1)
    click.echo(f"{'objects, ' if deep or requeue else ''}listing of {store.url}, ledger and rows agree")


def _read_objects(
    settings: "Settings",
    store: "ObjectStore",
    engine: "Engine",
    listing: "Sequence[ObjectRef]",
    *,
    requeue: bool,
) -> "DeepAudit":
    """Tell what reading costs, hold it against the budgets, and read."""
    from twap_pipeline.ingest.deep_audit import deep_audit, loaded_objects
    from twap_pipeline.ingest.planning import require_budget
    from twap_pipeline.storage.ingest_log import bytes_read_today

    layouts = day_layouts(settings.key_layout)
    refs = loaded_objects(engine, listing, settings.start_date, layouts)
    size_bytes = sum(ref.size_bytes for ref in refs)
    dollars = reading_dollars(len(refs), size_bytes)
    click.echo(f"reads {len(refs):,} objects, {show.size(size_bytes)}, ${dollars:.6f} from outside the region")
    with engine.connect() as connection:
        read_today = bytes_read_today(connection)
    require_budget(
        refs,
        max_bytes=settings.max_bytes_per_run,
        max_bytes_today=settings.max_bytes_per_day,
        read_today_bytes=read_today,
    )
    return deep_audit(store, engine, refs, layouts, requeue=requeue)


def _tell(found: "Iterable[Disagreement]") -> None:
    for one in found:
        click.echo(f"{one.kind} ({len(one.touched)}): {one.meaning}")
        for touched in one.touched[:SHOWN_FAILURES]:
            click.echo(f"  {touched}")
        if (more := len(one.touched) - SHOWN_FAILURES) > 0:
            click.echo(f"  … and {more} more")


def _tell_mended(mended: "Mended | None") -> None:
    if mended is None:
        return
    if not mended.did_anything:
        click.echo("nothing was mended: no object's rows or account are wrong")
        return
    click.echo(f"requeued {len(mended.requeued)} objects: `twap-pipeline ingest` takes them again")
    for key in mended.requeued[:SHOWN_FAILURES]:
        click.echo(f"  {key}")
    if mended.deleted or mended.deleted_rejected:
        click.echo(f"deleted {mended.deleted} wrong rows and {mended.deleted_rejected} quarantined rows of no object")
    if mended.corrected:
        click.echo(f"corrected the ledger's sum by {mended.corrected:+} rows, in the history of {mended.bearer}")
