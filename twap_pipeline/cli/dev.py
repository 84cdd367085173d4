"""The commands ``demo`` and ``dev`` for local use."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import click
from sqlalchemy import Engine

from twap_pipeline.cli.context import (
    PORT,
    database,
    first_partition,
    is_listening,
    require_free_port,
    require_source,
)
from twap_pipeline.cli.progress import step
from twap_pipeline.cli.tables import print_day_summary, print_order_history, print_table
from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import resolve_key_date_patterns
from twap_pipeline.embedded import close_clients
from twap_pipeline.ingest.day_listing import list_source
from twap_pipeline.ingest.plan import plan
from twap_pipeline.paths import ROOT, project_file
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.configured_store import open_configured_store
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.reports.ingest_summary import day_reports
from twap_pipeline.storage.reports.order_history import largest_ended_order, order_history
from twap_pipeline.storage.reports.reconciliation_counts import reconciliation_counts
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.schema.upgrade import upgrade

_POLL_SECONDS = 0.5
_MAX_MISSES = 6
_START_TIMEOUT_SECONDS = 300.0
_SHUTDOWN_TIMEOUT_SECONDS = 15.0
_DEV_WARNING = "ignore:Function `dev_command` is superseded"
"""Filter of Dagster's advice to use ``dg dev``, which is a development dependency."""

_SIDES = {"B": "buy", "A": "sell"}
_NEXT_COMMANDS = {
    "dev": "start Dagster's web UI",
    "serve": "start the query API and its web UI",
    "discover": "describe the source",
    "audit": "compare source listing, ingest log and rows",
    "--help": "list all commands",
}


@click.command()
def demo() -> None:
    """Start a local PostgreSQL, load the sample data and print a summary.

    Ignores DATABASE_URL, TWAP_SOURCE_URL, TWAP_FILLS_URL and DAGSTER_HOME: the sample data is never loaded into another
    database.
    """
    unset = dict.fromkeys(("database_url", "source_url", "fills_url", "dagster_home"))
    settings = load_settings().model_copy(update=unset)
    with ExitStack() as stack:
        engine = _open_database(stack, settings)
        _migrate(engine)
        is_new = _ingest_sample(settings, engine)
        _print_days(engine)
        if is_new:
            _check_tables(settings)
        _print_reconciliation(engine)
        _print_order(engine)
    with step("stopping PostgreSQL"):  # not at the end of the process: the prompt follows the last line
        close_clients()
    print_next_commands()


def print_next_commands() -> None:
    """Print commands as the user can type them: start.py, which installs .venv, does not change the user's PATH."""
    is_installed_by_launcher = Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()
    program = ".venv/bin/twap-pipeline" if is_installed_by_launcher else "twap-pipeline"
    click.echo("\nNext commands:")
    for name, purpose in _NEXT_COMMANDS.items():
        click.echo(f"  {f'{program} {name}':<34} {purpose}")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the web server.")
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the web server.")
def dev(host: str, port: int) -> None:
    """Start Dagster's web UI and daemon.

    Without DATABASE_URL: starts and migrates the local PostgreSQL. Without TWAP_SOURCE_URL, too: loads the sample data.
    """
    require_free_port(host, port)
    _import_dagster()
    from twap_pipeline.cli.dagster_runs import dagster_home, open_instance

    settings = load_settings()
    with ExitStack() as stack:
        engine = _open_database(stack, settings)
        if settings.database_url is None:
            _migrate(engine)
        require_head(engine)
        if settings.database_url is None and settings.source_url is None and _ingest_sample(settings, engine):
            _check_tables(settings)
        with open_instance(settings):  # reports a wrong dagster.yaml in one line
            home = dagster_home(settings)
        require_free_port(host, port)  # again, because loading the sample takes seconds
        click.echo(f"starting Dagster's web UI at http://{host}:{port} (Ctrl-C stops it)")
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(project_file("workspace.yaml"))]
        command += ["--host", host, "--port", str(port)]
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(home),
            "TWAP_HOME": str(settings.home.absolute()),
            "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _DEV_WARNING))),
        }
        raise SystemExit(_run_process_group(command, environment, home, lambda: is_listening(host, port)))


def _open_database(stack: ExitStack, settings: Settings) -> Engine:
    """Return an engine that the stack disposes of; print the start of the server, unless DATABASE_URL is set."""
    if settings.database_url is not None:
        return stack.enter_context(database(settings))[0]
    with step("starting PostgreSQL"):
        return stack.enter_context(database(settings))[0]


def _migrate(engine: Engine) -> None:
    revision = upgrade(engine)
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    click.echo(f"PostgreSQL {version} is running; its schema is {revision.message}")


def _import_dagster() -> None:
    """Import Dagster, as a step of its own. A demo without new data does not need it: it takes most of its time."""
    if "dagster" not in sys.modules:
        with step("importing Dagster"):
            import_module("twap_pipeline.cli.dagster_runs")


def _ingest_sample(settings: Settings, engine: Engine) -> bool:
    """Ingest the pending objects of the sample and its fills; return whether there were any.

    Fills are only those of the sample: without TWAP_SOURCE_URL, TWAP_FILLS_URL can be a real bucket.
    """
    data_sets = (TWAP_STATUS, TWAP_FILLS) if settings.is_sample_fills else (TWAP_STATUS,)
    run_count = sum(_ingest_data_set(settings, engine, data_set) for data_set in data_sets)
    click.echo(_describe_sample(settings))
    if not run_count:
        return False
    from twap_pipeline.cli.dagster_runs import run_refresh

    run_refresh(settings)
    click.echo(f"{run_count} Dagster runs ingested the objects")
    return True


def _ingest_data_set(settings: Settings, engine: Engine, data_set: DataSet) -> int:
    """Ingest the pending objects of a data set since its first partition; return the number of runs."""
    with step("preparing the sample data"):
        store = open_configured_store(settings, data_set)
    require_source(settings, engine, store, data_set)
    with engine.connect() as connection:
        entries = read_ingest_log(connection, data_set=data_set)
    listed = list_source(store, engine, resolve_key_date_patterns(settings.key_date_pattern))
    first, _ = first_partition(settings, data_set)
    refs_by_date = {day: refs for day, refs in listed.items() if day >= first}
    plans = {day: plan(refs, entries) for day, refs in refs_by_date.items()}
    pending_count = sum(len(plan.pending) for plan in plans.values())
    total = sum(map(len, refs_by_date.values()))
    click.echo(f"{store.url}: {pending_count} of {total} objects are new")
    if not pending_count:
        return 0
    _import_dagster()
    from twap_pipeline.cli.dagster_runs import run_ingest

    return len(run_ingest(settings, store.url, refs_by_date, plans=plans, show_progress=True, data_set=data_set))


def _check_tables(settings: Settings) -> None:
    from twap_pipeline.cli.dagster_runs import run_checks

    with step("running the asset checks"):
        run_checks(settings)
    click.echo("one Dagster run executed the asset checks\n")


def _describe_sample(settings: Settings) -> str:
    """Return the period of the sample, and how to replace a sample that is older than a day."""
    sample = settings.sample
    text = f"sample data from {sample.first_date} to {sample.until:%Y-%m-%d %H:%M} UTC"
    if datetime.now(UTC) - sample.until < timedelta(days=1):
        return text
    folders = f"the folders postgres, sample and dagster in {settings.home.absolute()}"
    return f"{text}; for newer sample data stop all commands, delete {folders}, and run again"


def _print_days(engine: Engine) -> None:
    click.echo("")
    with engine.connect() as connection:
        print_day_summary(day_reports(connection, data_set=TWAP_STATUS))
    click.echo("")


def _print_reconciliation(engine: Engine) -> None:
    """Print the number of fills, and whether they add up to the orders."""
    with engine.connect() as connection:
        counts = reconciliation_counts(connection)
    click.echo(f"{sum(fills for _, _, fills in counts):,} fills, compared with the executed totals of their orders:")
    print_table(["state", "orders", "fills"], counts)
    click.echo("")


def _print_order(engine: Engine) -> None:
    """Print the events of one order, and the checksum of all."""
    with engine.connect() as connection:
        if twap_id := largest_ended_order(connection):
            events = order_history(connection, twap_id)
            last = events[-1]
            click.echo(
                f"order {twap_id}: {_SIDES.get(last.side or '', last.side)} {last.size_requested} {last.asset}"
                f" over {last.duration_minutes} minutes, wallet {last.wallet}"
            )
            print_order_history(events)
        click.echo(f"\ncontent checksum: {content_checksum(connection)}")


def _run_process_group(
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    is_serving: Callable[[], bool],
    *,
    start_timeout_seconds: float = _START_TIMEOUT_SECONDS,
) -> int:
    """Run a command in its own session until it exits, stops serving or a signal arrives; then kill its process group.

    A command that does not start to serve within ``start_timeout_seconds`` has stopped, too. Serving is tested because
    a web server of Dagster that has stopped listening does not end: it has other threads.

    ``dagster dev`` starts four more processes. The signal handlers are installed first: a child of a shell's background
    job would otherwise inherit that SIGINT is ignored.

    Returns:
        0 after a signal. Any other end is a failure: the exit status of the command, or 1 if that is 0, as it is for
        ``dagster dev`` when its web server or its daemon is killed.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    process = subprocess.Popen(  # noqa: S603 - fixed argument list, no shell
        command, env=environment, cwd=folder, start_new_session=True
    )
    started, was_serving, misses = time.monotonic(), False, 0
    while process.poll() is None and misses < _MAX_MISSES and not stop.wait(_POLL_SECONDS):
        serves = is_serving()
        was_serving = was_serving or serves or time.monotonic() - started > start_timeout_seconds
        misses = misses + 1 if was_serving and not serves else 0
    has_ended = process.poll() is not None
    if not has_ended:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SHUTDOWN_TIMEOUT_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if stop.is_set():
        return 0
    end = (
        f"Dagster ended by itself with exit status {code}"
        if has_ended
        else "Dagster's web server does not accept connections"
    )
    click.echo(f"error: {end}; the output above contains the reason", err=True)
    return code if code > 0 else 1
