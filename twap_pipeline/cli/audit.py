"""The command ``audit``: compares source, ingest log and rows, and prints the findings."""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import click
from rich import filesize

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
from twap_pipeline.cli.progress import step
from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.object_ref import ObjectRef, resolve_key_date_patterns
from twap_pipeline.ingest.audit import AuditFinding, ingest_command
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.source.configured_store import open_configured_store
from twap_pipeline.source.s3_pricing import get_cost_usd
from twap_pipeline.storage.audit.repair import RepairResult


@click.command()
@data_set_option
@source_option
@click.option("--deep", is_flag=True, help="Read every loaded object again and compare it row by row.")
@click.option("--requeue", is_flag=True, help="Like --deep; also delete mismatched rows and requeue their objects.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def audit(data_set_name: str, source_url: str | None, *, deep: bool, requeue: bool, as_json: bool) -> None:
    """Compare the source listing, the ingest log and the stored rows.

    The exit status is 1 if they differ.
    """
    data_set = DATA_SETS[data_set_name]
    settings = load_command_settings(source_url, data_set)
    store = open_configured_store(settings, data_set)
    with database(settings) as (engine, _), ExitStack() as steps:
        require_source(settings, engine, store, data_set)

        def begin_reading(refs: Sequence[ObjectRef]) -> None:
            steps.close()
            if not as_json:
                _print_cost(refs)
            steps.enter_context(step(f"comparing {len(refs):,} objects with the stored rows"))

        steps.enter_context(step("comparing the listing, the ingest log and the row counts"))
        report = run_audit(
            store,
            engine,
            since=first_partition(settings, data_set)[0],
            key_date_patterns=resolve_key_date_patterns(settings.key_date_pattern),
            deep=deep,
            requeue=requeue,
            max_bytes_per_run=settings.max_bytes_per_run,
            max_bytes_per_day=settings.max_bytes_per_day,
            timeout_seconds=settings.maintenance_timeout_seconds,
            before_reading=begin_reading,
            data_set=data_set,
        )
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        _print_findings(report.findings)
        if report.repair is not None:
            _print_repair(report.repair, data_set)
        if not report.has_errors:
            compared = "objects, " if deep or requeue else ""
            click.echo(f"no differences: {compared}listing of {store.url}, ingest log and stored rows agree")
    if report.has_errors:
        raise SystemExit(1)


def _print_cost(refs: Sequence[ObjectRef]) -> None:
    size_bytes = sum(ref.size_bytes for ref in refs)
    cost_usd = get_cost_usd(len(refs), size_bytes)
    click.echo(
        f"reading {len(refs):,} objects, {filesize.decimal(size_bytes)}, ${cost_usd:.6f} from outside the bucket's"
        " region"
    )


def _print_findings(findings: Iterable[AuditFinding]) -> None:
    for finding in findings:
        click.echo(f"{finding.code} ({finding.count:,}): {finding.description}")
        _print_limited(finding.examples, finding.count)


def _print_repair(repair: RepairResult, data_set: DataSet) -> None:
    if not repair.has_changes:
        click.echo("repair: nothing to change")
        return
    if repair.requeued:
        click.echo(f"repair: requeued {len(repair.requeued)} objects; `{ingest_command(data_set)}` loads them again")
        _print_limited(repair.requeued, len(repair.requeued))
    if repair.deleted_rows or repair.deleted_quarantined_rows:
        click.echo(f"repair: deleted {repair.deleted_rows} rows and {repair.deleted_quarantined_rows} quarantined rows")
    if repair.orders_written or repair.orders_deleted:
        click.echo(
            f"repair: wrote {repair.orders_written} orders from their events and deleted {repair.orders_deleted} orders"
            " without events"
        )
    if repair.deleted_history_entries:
        click.echo(f"repair: deleted {repair.deleted_history_entries} history entries of impossible versions")
    if repair.recounted:
        click.echo(f"repair: set the row counts of {len(repair.recounted)} deleted objects to their stored rows")
        _print_limited(repair.recounted, len(repair.recounted))
    if repair.adjustment:
        click.echo(
            f"repair: adjusted the ingest log's row sum by {repair.adjustment:+}, in the history of"
            f" {repair.adjusted_key}"
        )


def _print_limited(lines: Sequence[str], count: int) -> None:
    """Print the first of ``count`` lines, of which ``lines`` may contain less."""
    for line in lines[:MAX_PRINTED_FAILURES]:
        click.echo(f"  {line}")
    if (more := count - MAX_PRINTED_FAILURES) > 0:
        click.echo(f"  … and {more:,} more")
