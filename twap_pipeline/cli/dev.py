"""Commands for a laptop: everything up and filled from nothing, and Dagster's UI on top of it."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from twap_pipeline.cli import tables
from twap_pipeline.cli.context import database, source
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.source.base import ObjectStore

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 15.0


@click.command()
def demo() -> None:
    """Show the whole pipeline on a local PostgreSQL and made-up sample orders; needs nothing, changes nothing outside.

    DATABASE_URL and TWAP_SOURCE_URL are left aside: sample orders never reach a real database.
    """
    for name in ("DATABASE_URL", "TWAP_SOURCE_URL", "DAGSTER_HOME"):
        os.environ.pop(name, None)
    settings = load_settings()
    with database(settings) as (engine, _):
        _migrate(engine)
        _ingest_sample(settings, engine, source(settings))
        _print_findings(engine)
    click.echo("\nTry next:")
    click.echo("  python3 start.py dev                       Dagster's UI: assets, partitions, backfills")
    click.echo("  .venv/bin/twap-pipeline serve              the query API and its page")
    click.echo("  .venv/bin/twap-pipeline discover           what the source holds")
    click.echo("  .venv/bin/twap-pipeline audit              hold listing, ledger and rows against each other")
    click.echo("  .venv/bin/twap-pipeline --help             everything else")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the web server.")
@click.option("--port", default=3000, show_default=True, help="Port of the web server.")
def dev(host: str, port: int) -> None:
    """Start Dagster's UI; with nothing configured, on the local PostgreSQL filled with the sample."""
    from twap_pipeline.cli.dagster_runs import local_dagster_home
    from twap_pipeline.paths import project_file
    from twap_pipeline.storage.schema.revision_gate import require_head

    settings = load_settings()
    with database(settings) as (engine, _):
        if settings.database_url is None:
            _migrate(engine)
        require_head(engine)
        if settings.database_url is None and settings.source_url is None:
            _ingest_sample(settings, engine, source(settings))
        home = settings.dagster_home or local_dagster_home(settings)
        click.echo(f"Dagster's UI comes up at http://{host}:{port} (Ctrl-C ends it)")
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(project_file("workspace.yaml"))]
        command += ["--host", host, "--port", str(port)]
        raise SystemExit(_run_group(command, {"DAGSTER_HOME": str(home)}, str(home)))


def _migrate(engine: "Engine") -> None:
    from twap_pipeline.storage.schema.upgrade import upgrade

    revision = upgrade(engine)
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    click.echo(f"PostgreSQL {version} is up, its schema {revision.message}")


def _ingest_sample(settings: Settings, engine: "Engine", store: "ObjectStore") -> None:
    """Take what the sample holds and the ledger does not."""
    from twap_pipeline.cli.dagster_runs import run_checks, run_ingestion, run_refresh
    from twap_pipeline.ingest.plan import group_by_day, plan
    from twap_pipeline.storage.ingest_log import read_ingest_log

    with engine.connect() as connection:
        ledger = read_ingest_log(connection)
    days = group_by_day(store.list_objects(), resolve_key_date_patterns(settings.key_date_pattern))
    plans = {day: plan(refs, ledger) for day, refs in days.items()}
    pending = {day: days[day] for day, found in plans.items() if found.pending}
    objects = sum(len(found.pending) for found in plans.values())
    click.echo(
        f"{store.url}: {objects} of {sum(len(found.loaded) for found in plans.values()) + objects} objects are new"
    )
    if pending:
        run_ids = run_ingestion(settings, store.url, pending, objects=objects, show_progress=sys.stderr.isatty())
        run_refresh(settings)
        run_checks(settings)
        click.echo(f"ingested in {len(run_ids)} Dagster runs, then checked in one")


def _print_findings(engine: "Engine") -> None:
    from twap_pipeline.storage.audit.checksum import content_checksum
    from twap_pipeline.storage.reports.ingest_summary import day_reports
    from twap_pipeline.storage.reports.order_history import largest_ended_order, order_history

    with engine.connect() as connection:
        click.echo("")
        tables.print_day_summary(day_reports(connection))
        if twap_id := largest_ended_order(connection):
            events = order_history(connection, twap_id)
            last = events[-1]
            side = {"B": "buy", "A": "sell"}.get(last.side or "", last.side)
            click.echo(f"\norder {twap_id}: {side} {last.size_requested} {last.asset}", nl=False)
            click.echo(f" over {last.duration_minutes} minutes, by {last.wallet}")
            tables.print_order_history(events)
        click.echo(f"\ntable hash: {content_checksum(connection)} (the same after every further demo)")


def _run_group(command: list[str], environment: dict[str, str], folder: str) -> int:
    """Run a command in a session of its own until it ends or we are told to; then end its whole group.

    Dagster starts four more processes. The signals are taken over before it starts, so that it does not inherit the
    deafness to SIGINT of a shell's background job.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.set())
    process = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
        command, env={**os.environ, **environment}, cwd=folder, start_new_session=True
    )
    while process.poll() is None and not asked.wait(_POLL_SECONDS):
        pass
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return 0 if asked.is_set() else code
