"""The ``twap-pipeline`` command: a shell beside Dagster's, one module per concern.

Here belong words and tables for a terminal, and exit statuses. What is done is done below, and ingestion runs as
Dagster runs, so that the UI shows it.
"""

import sys

import click

from twap_pipeline.cli.audit import audit
from twap_pipeline.cli.check import check, migrate
from twap_pipeline.cli.dev import demo, dev
from twap_pipeline.cli.export import export
from twap_pipeline.cli.ingest import discover, ingest
from twap_pipeline.cli.serve import grant_reader, make_api_key, serve
from twap_pipeline.errors import TwapPipelineError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twap-pipeline")
def cli() -> None:
    """The complete, exact, queryable history of Hyperliquid TWAP orders."""


for _command in (demo, dev, migrate, check, discover, ingest, audit, serve, export, make_api_key, grant_reader):
    cli.add_command(_command)


def main() -> None:
    """Run the command; an error that was meant for a person is one line and exit status 1."""
    try:
        cli()
    except TwapPipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
