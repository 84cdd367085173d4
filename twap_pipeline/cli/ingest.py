"""Commands around ingestion: look at the source, and take what is missing."""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from twap_pipeline.cli import tables
from twap_pipeline.cli.context import database, source
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.errors import SourceNotFoundError
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.s3_pricing import get_cost_usd, list_cost_usd, list_requests

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.domain.object_ref import ObjectRef
    from twap_pipeline.ingest.plan import Plan
    from twap_pipeline.source.base import ObjectStore

_DAY = click.DateTime(["%Y-%m-%d"])
_SHOWN_KEYS = 5
SHOWN_FAILURES = 20
source_option = click.option(
    "--source", "source_url", help="s3://bucket/prefix/ or file:///dir/; else TWAP_SOURCE_URL."
)


@click.command()
@source_option
@click.option("--since", type=_DAY, help="First UTC day; else TWAP_START_DATE.")
@click.option("--until", type=_DAY, help="Last UTC day; else the last that has objects.")
@click.option("--object-key", "object_keys", multiple=True, help="Only this object, parked or not; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Show objects, bytes and dollars; read no object.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def ingest(
    source_url: str | None,
    since: datetime | None,
    until: datetime | None,
    object_keys: tuple[str, ...],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take every object that the ledger does not hold yet, as Dagster runs.

    Exit status 1 tells that some objects could not be taken; the others are.
    """
    from twap_pipeline.cli.dagster_runs import run_ingestion, run_refresh
    from twap_pipeline.storage.schema.revision_gate import require_head

    settings = set_source_url(source_url)
    store = source(settings)
    with database(settings) as (engine, _):
        require_head(engine)
        days = _days_in_range(settings, store, since, until, object_keys)
        plans = _plans(engine, days, object_keys)
        pending = [ref for plan in plans.values() for ref in plan.pending]
        parked = [ref.key for plan in plans.values() for ref in plan.parked]
        summary = _summary(store, plans)
        if dry_run or not pending:
            _print_plan(summary, as_json=as_json, nothing_new=not pending and not dry_run)
            if not dry_run:
                run_refresh(settings)
            raise SystemExit(1 if parked and not dry_run else 0)
        run_ids = run_ingestion(
            settings,
            store.url,
            {day: days[day] for day, plan in plans.items() if plan.pending},
            object_keys=object_keys,
            objects=len(pending),
            show_progress=not as_json and sys.stderr.isatty(),
        )
        run_refresh(settings)
        failed = _print_outcome(engine, run_ids, summary, as_json=as_json)
    raise SystemExit(1 if failed or parked else 0)


@click.command()
@source_option
def discover(source_url: str | None) -> None:
    """ListingSlice at the source: keys, layout, schema and mapping, objects, bytes, dollars. Reads one object."""
    from twap_pipeline.cli.discovery import describe_object, key_pattern_counts

    settings = set_source_url(source_url)
    store = source(settings)
    listing = sorted(store.list_objects())
    if not listing:
        raise SourceNotFoundError(f"{store.url} lists no objects; check the prefix in TWAP_SOURCE_URL")
    total = sum(ref.size_bytes for ref in listing)
    click.echo(f"{store.url}: {len(listing):,} objects, {tables.size(total)}")
    dollars = list_cost_usd(len(listing)), get_cost_usd(len(listing), total)
    click.echo(f"one listing: {list_requests(len(listing))} LIST requests, ${dollars[0]:.4f};", nl=False)
    click.echo(f" reading all from outside the region: ${dollars[1]:.2f}; inside it: the GETs alone\n")
    step = max(1, len(listing) // _SHOWN_KEYS)
    tables.table(
        ["key", "bytes", "last modified (UTC)"],
        [(ref.key, ref.size_bytes, ref.last_modified) for ref in listing[::step][:_SHOWN_KEYS]],
    )
    click.echo("")
    tables.table(
        ["layout (how the key names its day)", "objects", "first day", "last day"],
        key_pattern_counts(listing, resolve_key_date_patterns(settings.key_date_pattern)),
    )
    click.echo("")
    newest = max(listing, key=lambda ref: (ref.last_modified, ref.key))
    describe_object(store, newest)


def set_source_url(source_url: str | None) -> Settings:
    """Return the settings; a source given on the command line counts as the environment's, for the runs too."""
    if source_url:
        os.environ["TWAP_SOURCE_URL"] = source_url
    return load_settings()


def _days_in_range(
    settings: Settings,
    store: "ObjectStore",
    since: datetime | None,
    until: datetime | None,
    object_keys: Sequence[str],
) -> "dict[date, list[ObjectRef]]":
    """Return the listed objects of the asked days; it is an error if there are none."""
    from twap_pipeline.ingest.plan import group_by_day

    first = max(since.date(), settings.start_date) if since else settings.start_date
    last = until.date() if until else date.max
    listed = group_by_day(store.list_objects(), resolve_key_date_patterns(settings.key_date_pattern))
    days = {day: refs for day, refs in listed.items() if first <= day <= last}
    if not days:
        known = f"it has objects from {min(listed)} to {max(listed)}" if listed else "it lists no objects at all"
        asked = f"from {since.date() if since else first} to {until.date() if until else 'now'}"
        raise SourceNotFoundError(f"{store.url} has no objects {asked}; {known}")
    if missing := set(object_keys) - {ref.key for refs in days.values() for ref in refs}:
        raise SourceNotFoundError(f"{store.url} lists no object {sorted(missing)[0]!r} in these days; try `discover`")
    return days


def _plans(engine: "Engine", days: "dict[date, list[ObjectRef]]", only: Sequence[str]) -> "dict[date, Plan]":
    from twap_pipeline.ingest.plan import plan
    from twap_pipeline.storage.ingest_log import read_ingest_log

    with engine.connect() as connection:
        ledger = read_ingest_log(connection)
    return {day: plan(refs, ledger, only=only) for day, refs in days.items()}


def _summary(store: "ObjectStore", plans: "dict[date, Plan]") -> dict[str, object]:
    pending = [ref for plan in plans.values() for ref in plan.pending]
    size_bytes = sum(ref.size_bytes for ref in pending)
    return {
        "source": store.url,
        "days": sum(1 for plan in plans.values() if plan.pending),
        "objects": len(pending),
        "bytes": size_bytes,
        "dollars": round(get_cost_usd(len(pending), size_bytes), 6),
        "objects_loaded_before": sum(len(plan.loaded) for plan in plans.values()),
        "objects_parked": sorted(ref.key for plan in plans.values() for ref in plan.parked),
    }


def _print_plan(summary: dict[str, object], *, as_json: bool, nothing_new: bool) -> None:
    if as_json:
        click.echo(json.dumps({**summary, "runs": [], "failed": []}))
        return
    if nothing_new:
        click.echo(f"nothing new: {summary['objects_loaded_before']:,} objects of {summary['source']} are loaded")
    else:
        size_bytes = tables.size(int(str(summary["bytes"])))
        click.echo(
            f"would take {summary['objects']:,} objects of {summary['days']} days, {size_bytes},"
            f" ${summary['dollars']:.6f} from outside the region; nothing was read"
        )
    _print_parked(summary)


def _print_parked(summary: dict[str, object]) -> None:
    parked = summary["objects_parked"]
    if isinstance(parked, list) and parked:
        click.echo(f"parked after repeated failures, not taken ({len(parked)}): {', '.join(parked[:3])}", err=True)


def _print_outcome(engine: "Engine", run_ids: Sequence[str], summary: dict[str, object], *, as_json: bool) -> int:
    """Print what the runs did and return how many objects failed."""
    from twap_pipeline.domain.row_counts import RowCounts
    from twap_pipeline.storage.reports.ingest_summary import day_reports, failed_objects

    with engine.connect() as connection:
        reports = day_reports(connection, run_ids)
        failed = failed_objects(connection, run_ids)
    row_counts = RowCounts.sum_of(report.row_counts for report in reports)
    if as_json:
        outcome = {
            "runs": list(run_ids),
            "objects_taken": sum(report.objects for report in reports),
            "failed": [
                {"key": key, "error": error, "failed_attempts": failed_attempts}
                for key, error, failed_attempts in failed
            ],
            "rows": {"read": row_counts.total, **row_counts.as_dict()},
        }
        click.echo(json.dumps({**summary, **outcome}))
        return len(failed)
    tables.print_day_summary(reports)
    for key, error, failed_attempts in failed[:SHOWN_FAILURES]:
        click.echo(f"failed: {key}: {error} (attempt {failed_attempts})", err=True)
    _print_parked(summary)
    kinds = Counter({"objects taken": sum(report.objects for report in reports), "failed": len(failed)})
    click.echo(f"{kinds['objects taken']:,} objects taken, {kinds['failed']} failed, in {len(run_ids)} Dagster runs")
    return len(failed)
