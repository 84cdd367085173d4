"""The commands ``symbols list`` and ``symbols refresh``: the names of spot pairs."""

from datetime import datetime

import click

from twap_pipeline.cli.context import database
from twap_pipeline.cli.tables import print_table
from twap_pipeline.settings import load_settings
from twap_pipeline.source.spot_meta import endpoint_name, fetch_spot_pairs
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.symbols.spot_pairs import read_spot_pairs, record_spot_pairs


@click.group()
def symbols() -> None:
    """List or refresh the names of spot pairs: @107 is HYPE/USDC."""


@symbols.command("list")
def list_symbols() -> None:
    """Print the recorded names, one line per pair and range of time."""
    with database(load_settings()) as (engine, _):
        require_head(engine)
        with engine.connect() as connection:
            pairs = read_spot_pairs(connection)
    print_table(
        ["asset", "symbol", "valid from (UTC)", "valid to (UTC)"],
        [
            (f"@{pair.pair_index}", f"{pair.base}/{pair.quote}", _format(pair.valid_from), _format(pair.valid_to))
            for pair in pairs
        ],
    )


@symbols.command("refresh")
def refresh() -> None:
    """Record the names that the exchange lists now.

    The exit status is 1 if the exchange cannot be reached; then nothing is changed.
    """
    settings = load_settings()
    url = settings.exchange_info_url
    with database(settings) as (engine, _):
        require_head(engine)
        names = fetch_spot_pairs(url, allow_insecure_endpoint=settings.allow_insecure_endpoint)
        with engine.begin() as connection:
            recorded = record_spot_pairs(connection, names, endpoint_name(url))
    click.echo(
        f"{endpoint_name(url)} lists {len(names)} spot pairs: {recorded.added} added, {recorded.renamed} renamed,"
        f" {recorded.unchanged} unchanged"
    )


def _format(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%d %H:%M:%S}"
