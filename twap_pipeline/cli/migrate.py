"""The command ``migrate``: upgrades the database schema to this code's revision."""

import click

from twap_pipeline.cli.context import database
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.engine.url import redacted_url
from twap_pipeline.storage.schema.upgrade import upgrade


@click.command()
def migrate() -> None:
    """Upgrade the database schema to this code's Alembic head.

    Concurrent calls are safe: an advisory lock serializes them.
    """
    with database(load_settings()) as (engine, url):
        revision = upgrade(engine)
    click.echo(f"{redacted_url(url)} is {revision.message}")
