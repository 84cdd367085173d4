"""The ``twap-pipeline`` command: the group, its list of commands, and the translation of errors to exit statuses.

Each command lives in its own module of this package and is listed in `COMMANDS`. Command modules parse options and
print results; ingestion, queries and migrations belong to the packages below. `LazyGroup` is the only lazy import of
the command line: it imports the module of the command that runs, so command modules import at the top of the file.
"""

import atexit
import gc
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType

import click

from twap_pipeline.errors import ConfigurationError, TwapPipelineError
from twap_pipeline.logs import configure_logging
from twap_pipeline.settings import load_settings

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("dev", "Start a local PostgreSQL, load the sample data and print a summary."),
    "dev": ("dev", "Start Dagster's web UI and daemon."),
    "migrate": ("migrate", "Upgrade the database schema to this code's Alembic head."),
    "check": ("check", "Check database, schema, source and definitions before a deployment."),
    "status": ("status", "Show what is loaded, what is behind and what needs a person."),
    "discover": ("discovery", "Describe the source: keys, schema, column mapping and cost."),
    "ingest": ("ingest", "Ingest all pending objects as Dagster runs."),
    "audit": ("audit", "Compare the source listing, the ingest log and the stored rows."),
    "serve": ("serve", "Serve the query API and the web UI."),
    "export-metrics": ("export_metrics", "Serve or print the metrics of the pipeline for Prometheus."),
    "export": ("export", "Export the orders of a wallet to a file."),
    "symbols": ("symbols", "List or refresh the names of spot pairs."),
    "test-alert": ("alerts", "Send a test message to the receivers of alerts."),
    "make-api-key": ("serve", "Create an API key and print it with its hash."),
    "grant-reader": ("roles", "Create a read-only database role for the API."),
    "grant-loader": ("roles", "Create a database role for loads, audits and checks."),
    "partition-by-month": ("months", "Partition twap_status by month, or undo it."),
    "archive-month": ("months", "Move a month of events to a parquet file."),
    "restore-month": ("months", "Put an archived month back into twap_status."),
}
"""Command name -> (module in this package, summary for the list of commands)."""


_WITHOUT_OUTPUT = {"export-metrics"}
"""Commands that report problems by log lines only; the others print them."""

_END_BY_SIGNAL = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""Signals that end a command as Ctrl-C does -> the line that the command prints."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command runs; ``--help`` of the group imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None if the name is unknown."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. SIGINT and SIGTERM end it with one line, also while it is imported.

        The exit status is that of a shell: 128 and the number of the signal. SIGTERM needs a handler because the kernel
        ignores it for process 1, which a command is in a container, if the process has none.
        """
        received = [signal.SIGINT]

        def interrupt(number: int, _: FrameType | None) -> None:
            received.append(signal.Signals(number))
            raise KeyboardInterrupt

        for number in _END_BY_SIGNAL:
            signal.signal(number, interrupt)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            for number in _END_BY_SIGNAL:  # a second signal must not interrupt the end of the server
                signal.signal(number, signal.SIG_IGN)
            click.echo(_END_BY_SIGNAL[received[-1]], err=True)
            raise SystemExit(128 + received[-1]) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def load_command(name: str) -> click.Command:
    """Import and return the command with this name.

    Raises:
        KeyError: There is no command with this name.
    """
    module = import_module(f"{__name__}.{COMMANDS[name][0]}")
    command: click.Command = getattr(module, name.replace("-", "_"))
    return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twap-pipeline")
@click.pass_context
def cli(context: click.Context) -> None:
    """The complete, exact, queryable history of Hyperliquid TWAP orders."""
    with suppress(ConfigurationError):  # the command reports it, unless its options are not valid
        settings = load_settings()
        level = "WARNING" if context.invoked_subcommand in _WITHOUT_OUTPUT else "ERROR"
        configure_logging(settings.log_level or level, settings.log_format or "text")


def main() -> None:
    """Run the command; print a `TwapPipelineError` as one line and exit with status 1.

    The last garbage collection of the interpreter would visit each object of Dagster, which takes a second.
    """
    atexit.register(gc.freeze)
    try:
        cli()
    except TwapPipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
