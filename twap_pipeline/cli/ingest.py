"""The command ``ingest``: loads all pending objects as Dagster runs and prints the row counts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

import click
from rich import filesize
from sqlalchemy import Engine

from twap_pipeline.cli.context import (
    DATA_SETS,
    MAX_PRINTED_FAILURES,
    data_set_option,
    database,
    first_partition,
    load_command_settings,
    require_source,
    source_option,
)
from twap_pipeline.cli.dagster_runs import run_ingest, run_refresh
from twap_pipeline.cli.tables import print_day_summary
from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import ObjectRef, resolve_key_date_patterns
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.errors import SourceNotFoundError
from twap_pipeline.ingest.day_listing import find_layouts, record_layouts
from twap_pipeline.ingest.plan import Plan, group_by_day, objects_before, plan
from twap_pipeline.settings import Settings
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.configured_store import open_configured_store
from twap_pipeline.source.s3_pricing import get_cost_usd
from twap_pipeline.source.selection import SkippedObjects, join_keys
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.reports.ingest_summary import day_reports, failed_objects

_DATE = click.DateTime(["%Y-%m-%d"])
_PRINTED_KEYS = 3


@dataclass(frozen=True)
class _Listing:
    """The objects of the source, by what an ingestion does with them.

    Args:
        refs_by_date: UTC day → objects, of the requested days.
        layouts: Key layouts of all objects.
        before_start_date: Keys of objects of days before TWAP_START_DATE.
        skipped: Objects that are not data.
    """

    refs_by_date: dict[date, list[ObjectRef]]
    layouts: set[str]
    before_start_date: list[str]
    skipped: SkippedObjects


@dataclass(frozen=True)
class _Summary:
    """What a run would ingest; ``--json`` prints these fields.

    Args:
        source: The source URL.
        partitions: Partitions with pending objects.
        objects: Pending objects.
        bytes: Bytes of the pending objects.
        estimated_cost_usd: Cost of reading them from outside the bucket's region.
        objects_already_ingested: Listed objects that are loaded.
        objects_parked: Keys of the parked objects.
        objects_before_start_date: Listed objects of days before TWAP_START_DATE, which are not ingested.
        first_keys_before_start_date: Their first keys.
        objects_skipped: Reason → listed objects that are not data.
    """

    source: str
    partitions: int
    objects: int
    bytes: int
    estimated_cost_usd: float
    objects_already_ingested: int
    objects_parked: list[str]
    objects_before_start_date: int
    first_keys_before_start_date: list[str]
    objects_skipped: dict[str, int]


@click.command()
@data_set_option
@source_option
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="Ingest this local object; its name is the key, its directory the source.",
)
@click.option("--start", type=_DATE, help="First UTC day.  [default: the first partition]")
@click.option("--end", type=_DATE, help="Day after the last UTC day: the end is exclusive.  [default: no end]")
@click.option(
    "--object-key", "object_keys", multiple=True, help="Ingest only this object, even if it is parked; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Print objects, bytes and estimated cost; read and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def ingest(
    source_url: str | None,
    file: Path | None,
    start: datetime | None,
    end: datetime | None,
    object_keys: tuple[str, ...],
    *,
    data_set_name: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ingest all pending objects as Dagster runs.

    Exit status 1 means that at least one object failed or is parked; all other objects are loaded.
    """
    if start and end and start >= end:
        raise click.UsageError("--start must be before --end, which is exclusive")
    if file and source_url:
        raise click.UsageError("pass either --file or --source, not both")
    if file:
        if not file.is_file():
            raise click.UsageError(f"{file} is not a file")
        file = file.absolute()
        source_url, object_keys = f"{file.parent.as_uri()}/", (file.name, *object_keys)
    data_set = DATA_SETS[data_set_name]
    settings = load_command_settings(source_url, data_set)
    store = open_configured_store(settings, data_set)
    with database(settings) as (engine, _):
        require_source(settings, engine, store, data_set)
        listing = _list_objects(settings, store, start, end, data_set=data_set, object_keys=object_keys)
        refs_by_date = listing.refs_by_date
        with engine.connect() as connection:
            keys = [ref.key for refs in refs_by_date.values() for ref in refs]
            entries = read_ingest_log(connection, keys, data_set=data_set)
        plans = {day: plan(refs, entries, only=object_keys) for day, refs in refs_by_date.items()}
        summary = _summarize(store.url, plans.values(), listing)
        _warn_of_early_objects(settings, data_set, listing)
        if dry_run:
            _print_plan(summary, as_json=as_json, dry_run=True)
            return
        failed_count = 0
        record_layouts(engine, store, listing.layouts, is_complete=True)
        if summary.objects:
            run_ids = run_ingest(
                settings,
                store.url,
                refs_by_date,
                plans=plans,
                object_keys=object_keys,
                show_progress=not as_json,
                data_set=data_set,
            )
            failed_count = _print_outcome(engine, run_ids, summary, data_set, as_json=as_json)
        else:
            _print_plan(summary, as_json=as_json, dry_run=False)
        if data_set == TWAP_STATUS:
            run_refresh(settings)
    raise SystemExit(1 if failed_count or summary.objects_parked else 0)


def _list_objects(
    settings: Settings,
    store: ObjectStore,
    start: datetime | None,
    end: datetime | None,
    *,
    data_set: DataSet,
    object_keys: Sequence[str],
) -> _Listing:
    """Return the listed objects, those of the range per UTC day.

    Raises:
        SourceNotFoundError: The range has no objects, or an object key is not listed.
    """
    start_date, _ = first_partition(settings, data_set)
    first = max(start.date(), start_date) if start else start_date
    day_after_last = end.date() if end else date.max
    skipped = SkippedObjects()
    key_date_patterns = resolve_key_date_patterns(settings.key_date_pattern)
    refs = list(store.list_objects(skipped=skipped))
    listed = group_by_day(refs, key_date_patterns)
    refs_by_date = {day: refs for day, refs in listed.items() if first <= day < day_after_last}
    if not refs_by_date:
        available = f"it has objects from {min(listed)} to {max(listed)}" if listed else "it contains no objects"
        available += f"; skipped objects that are not data: {skipped}" if skipped else ""
        requested = f"from {start.date() if start else first} to {f'{end.date()} (exclusive)' if end else 'now'}"
        raise SourceNotFoundError(f"{store.url} has no objects {requested}; {available}")
    if missing := set(object_keys) - {ref.key for refs in refs_by_date.values() for ref in refs}:
        raise SourceNotFoundError(
            f"{store.url} lists no object {min(missing)!r} in this range; run `twap-pipeline discover`"
        )
    early = [ref.key for ref in objects_before(listed, start_date)]
    return _Listing(refs_by_date, find_layouts(refs, key_date_patterns), early, skipped)


def _summarize(source_url: str, plans: Iterable[Plan], listing: _Listing) -> _Summary:
    plans = list(plans)
    pending = [ref for plan in plans for ref in plan.pending]
    size_bytes = sum(ref.size_bytes for ref in pending)
    return _Summary(
        source=source_url,
        partitions=sum(1 for plan in plans if plan.pending),
        objects=len(pending),
        bytes=size_bytes,
        estimated_cost_usd=round(get_cost_usd(len(pending), size_bytes), 6),
        objects_already_ingested=sum(len(plan.loaded) for plan in plans),
        objects_parked=sorted(ref.key for plan in plans for ref in plan.parked),
        objects_before_start_date=len(listing.before_start_date),
        first_keys_before_start_date=listing.before_start_date[:_PRINTED_KEYS],
        objects_skipped={str(reason): len(keys) for reason, keys in listing.skipped.keys.items()},
    )


def _warn_of_early_objects(settings: Settings, data_set: DataSet, listing: _Listing) -> None:
    """Print the number and first keys of the objects that no partition contains."""
    if keys := listing.before_start_date:
        start_date, setting = first_partition(settings, data_set)
        click.echo(f"ignored {len(keys):,} objects before {setting} ({start_date}): {join_keys(keys)}", err=True)


def _print_plan(summary: _Summary, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        _print_json(summary, {"runs": [], "objects_ingested": 0, "failed": []})
        return
    if dry_run:
        click.echo(
            f"dry run: would ingest {summary.objects:,} objects in {summary.partitions} partitions"
            f" ({filesize.decimal(summary.bytes)}, ${summary.estimated_cost_usd:.6f} from outside the bucket's region)"
        )
    else:
        click.echo(f"no new objects ({summary.objects_already_ingested:,} already ingested)")
    _print_parked(summary)


def _print_outcome(
    engine: Engine, run_ids: Sequence[str], summary: _Summary, data_set: DataSet, *, as_json: bool
) -> int:
    """Print the result of the runs and return the number of failed objects."""
    with engine.connect() as connection:
        days = day_reports(connection, run_ids, data_set=data_set)
        failed = failed_objects(connection, run_ids, data_set=data_set)
    ingested = sum(day.objects for day in days)
    if as_json:
        row_counts = RowCounts.sum_of(day.row_counts for day in days)
        _print_json(
            summary,
            {
                "runs": list(run_ids),
                "objects_ingested": ingested,
                "failed": [
                    {"key": key, "error": error, "failed_attempts": attempts} for key, error, attempts in failed
                ],
                "rows": {"read": row_counts.total, **row_counts.as_dict()},
            },
        )
        return len(failed)
    print_day_summary(days)
    for key, error, attempts in failed[:MAX_PRINTED_FAILURES]:
        click.echo(f"failed: {key}: {error} (attempt {attempts})", err=True)
    _print_parked(summary)
    click.echo(f"ingested {ingested:,} objects, {len(failed)} failed ({len(run_ids)} Dagster runs)")
    return len(failed)


def _print_json(summary: _Summary, outcome: Mapping[str, object]) -> None:
    click.echo(json.dumps({**asdict(summary), **outcome}))


def _print_parked(summary: _Summary) -> None:
    if keys := summary.objects_parked:
        click.echo(f"skipped {len(keys)} parked objects: {join_keys(keys)}", err=True)
