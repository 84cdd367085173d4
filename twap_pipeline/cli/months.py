"""Commands of the partitions by month: ``partition-by-month``, ``archive-month`` and ``restore-month``."""

from datetime import date
from pathlib import Path

import click
from rich import filesize

from twap_pipeline.cli.context import database, load_command_settings, require_source, source_option
from twap_pipeline.cli.progress import step
from twap_pipeline.domain.months import format_month, parse_month
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.ingest.archive_precondition import require_loaded_month
from twap_pipeline.settings import load_settings
from twap_pipeline.source.configured_store import open_configured_store
from twap_pipeline.storage.engine.privileges import require_owner
from twap_pipeline.storage.months import archive, conversion
from twap_pipeline.storage.schema.models import twap_status
from twap_pipeline.storage.schema.revision_gate import require_head


class _Month(click.ParamType[date]):
    """A month such as 2025-03; converted to the date of its first day."""

    name = "YYYY-MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the month."""
        try:
            return parse_month(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a month such as 2025-03", param, ctx)


@click.command("partition-by-month")
@click.option("--undo", is_flag=True, help="Make twap_status a plain table again.")
@click.option("--until", type=_Month(), help="Also create the months from the present one to this one.")
@click.option("--dry-run", is_flag=True, help="Print rows, disk space and estimated duration; change nothing.")
def partition_by_month(*, undo: bool, until: date | None, dry_run: bool) -> None:
    """Partition twap_status by month. On a partitioned table, create months and grant their privileges again.

    Copies the table in one transaction: an interrupted conversion changes nothing. Readers continue, loads are refused.
    """
    if undo and until:
        raise click.UsageError("--undo and --until exclude each other")
    with database(load_settings()) as (engine, _):
        require_head(engine)
        require_owner(engine, twap_status.name, "partition-by-month")
        with engine.connect() as connection:
            estimate = conversion.estimate_conversion(connection)
        click.echo(
            f"twap_status: about {estimate.rows:,} rows, {filesize.decimal(estimate.size_bytes)} with indexes; a"
            f" conversion needs as much free disk space and about {estimate.seconds:,.0f} s",
            err=not dry_run,
        )
        if dry_run:
            return
        if undo:
            conversion.merge_partitions(engine, _print_progress)
            click.echo("twap_status is a plain table")
            return
        table = conversion.partition_by_month(engine, _print_progress, until)
    click.echo(f"twap_status has {len(table.partitions)} partitions by month")


def _print_progress(line: str) -> None:
    click.echo(line, err=True)


@click.command("archive-month")
@source_option
@click.argument("month", type=_Month())
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Existing directory of the file.",
)
def archive_month(source_url: str | None, month: date, directory: Path) -> None:
    """Write the events of MONTH (2025-03) to a parquet file, compare it with the rows, and drop the partition."""
    settings = load_command_settings(source_url)
    store = open_configured_store(settings)
    with database(settings) as (engine, _), step(f"archiving {format_month(month)}"):
        require_owner(engine, twap_status.name, "archive-month")
        require_source(settings, engine, store)
        require_loaded_month(engine, store.list_objects(), month, resolve_key_date_patterns(settings.key_date_pattern))
        archived = archive.archive_month(engine, month, directory)
    click.echo(f"archived {archived.rows:,} rows of {format_month(month)} in {directory / archived.file_name}")
    click.echo(f"sha256  {archived.sha256}\nKeep a copy of the file: its rows are no longer in the database.")


@click.command("restore-month")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def restore_month(file: Path) -> None:
    """Put the events of an archived month back from FILE."""
    with database(load_settings()) as (engine, _), step(f"restoring {file.name}"):
        require_head(engine)
        require_owner(engine, twap_status.name, "restore-month")
        restored = archive.restore_month(engine, file)
    click.echo(f"restored {restored.rows:,} rows of {format_month(restored.month)}; {file} is not needed any more")
