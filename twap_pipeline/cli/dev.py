"""The commands ``demo`` and ``dev`` for local use."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click
from sqlalchemy import Engine

from twap_pipeline.cli.context import database, require_source, source
from twap_pipeline.cli.dagster_runs import dagster_home, run_checks, run_ingest, run_refresh
from twap_pipeline.cli.tables import print_day_summary, print_order_history
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.ingest.plan import group_by_day, plan
from twap_pipeline.paths import project_file
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.reports.ingest_summary import day_reports
from twap_pipeline.storage.reports.order_history import largest_ended_order, order_history
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.schema.upgrade import upgrade

_POLL_SECONDS = 0.5
_SHUTDOWN_TIMEOUT_SECONDS = 15.0
_SIDES = {"B": "buy", "A": "sell"}
_NEXT_COMMANDS = """
Next commands:
  python3 start.py dev                       start Dagster's web UI
  .venv/bin/twap-pipeline serve              start the query API and its web UI
  .venv/bin/twap-pipeline discover           describe the source
  .venv/bin/twap-pipeline audit              compare source listing, ingest log and rows
  .venv/bin/twap-pipeline --help             list all commands"""


@click.command()
def demo() -> None:
    """Start a local PostgreSQL, load the sample data and print a summary.

    Ignores DATABASE_URL, TWAP_SOURCE_URL and DAGSTER_HOME: the sample data is never loaded into another database.
    """
    settings = load_settings().model_copy(update={"database_url": None, "source_url": None, "dagster_home": None})
    with database(settings) as (engine, _):
        _migrate(engine)
        _ingest_sample(settings, engine)
        _print_summary(engine)
    click.echo(_NEXT_COMMANDS)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the web server.")
@click.option("--port", default=3000, show_default=True, help="Port of the web server.")
def dev(host: str, port: int) -> None:
    """Start Dagster's web UI and daemon.

    Without DATABASE_URL: starts and migrates the local PostgreSQL. Without TWAP_SOURCE_URL, too: loads the sample data.
    """
    settings = load_settings()
    with database(settings) as (engine, _):
        if settings.database_url is None:
            _migrate(engine)
        require_head(engine)
        if settings.database_url is None and settings.source_url is None:
            _ingest_sample(settings, engine)
        home = dagster_home(settings)
        click.echo(f"starting Dagster's web UI at http://{host}:{port} (Ctrl-C stops it)")
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(project_file("workspace.yaml"))]
        command += ["--host", host, "--port", str(port)]
        environment = {**os.environ, "DAGSTER_HOME": str(home), "TWAP_HOME": str(settings.home.absolute())}
        raise SystemExit(_run_process_group(command, environment, home))


def _migrate(engine: Engine) -> None:
    revision = upgrade(engine)
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    click.echo(f"PostgreSQL {version} is running; its schema is {revision.message}")


def _ingest_sample(settings: Settings, engine: Engine) -> None:
    """Ingest the pending objects of the sample and run the asset checks."""
    store = source(settings)
    require_source(settings, engine, store)
    with engine.connect() as connection:
        entries = read_ingest_log(connection)
    refs_by_date = group_by_day(store.list_objects(), resolve_key_date_patterns(settings.key_date_pattern))
    plans = {day: plan(refs, entries) for day, refs in refs_by_date.items()}
    pending_count = sum(len(plan.pending) for plan in plans.values())
    total = sum(map(len, refs_by_date.values()))
    click.echo(f"{store.url}: {pending_count} of {total} objects are new")
    if pending_count:
        run_ids = run_ingest(
            settings,
            store.url,
            {day: refs_by_date[day] for day, plan in plans.items() if plan.pending},
            object_count=pending_count,
            show_progress=sys.stderr.isatty(),
        )
        run_refresh(settings)
        run_checks(settings)
        click.echo(f"{len(run_ids)} Dagster runs ingested the objects; one run executed the asset checks")


def _print_summary(engine: Engine) -> None:
    with engine.connect() as connection:
        click.echo("")
        print_day_summary(day_reports(connection))
        if twap_id := largest_ended_order(connection):
            events = order_history(connection, twap_id)
            last = events[-1]
            click.echo(
                f"\norder {twap_id}: {_SIDES.get(last.side or '', last.side)} {last.size_requested} {last.asset}"
                f" over {last.duration_minutes} minutes, wallet {last.wallet}"
            )
            print_order_history(events)
        click.echo(f"\ncontent checksum: {content_checksum(connection)}")


def _run_process_group(command: list[str], environment: Mapping[str, str], folder: Path) -> int:
    """Run a command in its own session until it exits or a signal arrives, then kill its process group.

    ``dagster dev`` starts four more processes. The signal handlers are installed first: a child of a shell's
    background job would otherwise inherit that SIGINT is ignored.

    Returns:
        The exit status of the command; 0 after a signal.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    process = subprocess.Popen(  # noqa: S603 - fixed argument list, no shell
        command, env=environment, cwd=folder, start_new_session=True
    )
    while process.poll() is None and not stop.wait(_POLL_SECONDS):
        pass
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SHUTDOWN_TIMEOUT_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return 0 if stop.is_set() else code
