"""The command ``export``: writes a wallet's orders to a file or to standard output."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click
from sqlalchemy import Engine, Select

from twap_pipeline.cli.context import database
from twap_pipeline.exports.formats import BATCH_ROWS, DISCLAIMER, FORMATS, Writer
from twap_pipeline.exports.rows import wallet_orders
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.schema.revision_gate import require_head

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
_WALLET = re.compile("0x[0-9a-f]{40}")


def _parse_wallet(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    wallet = value.lower()
    if not _WALLET.fullmatch(wallet):
        raise click.BadParameter("must be 0x and 40 hex digits")
    return wallet


@click.command()
@click.option("--wallet", required=True, callback=_parse_wallet, help="Wallet that owns the orders, in any case.")
@click.option("--start", type=_TIME, help="First UTC day or time of the orders' last events, inclusive.")
@click.option("--end", type=_TIME, help="End of the range, exclusive.")
@click.option("--format", "name", type=click.Choice(list(FORMATS)), default="csv", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File.  [default: standard output]")
def export(wallet: str, start: datetime | None, end: datetime | None, name: str, output: Path | None) -> None:
    """Export the orders of a wallet, one row per order.

    The output file is created only when it is complete. The exit status is 1 if the export fails.
    """
    export_format = FORMATS[name]
    statement = wallet_orders(wallet, _to_utc(start), _to_utc(end), executed_only=export_format.executed_only)
    with database(load_settings()) as (engine, _), _atomic_output(output) as file:
        require_head(engine)
        count = _write(file, export_format.make_writer(), engine, statement)
    click.echo(f"exported {count:,} orders{f' to {output}' if output else ''}", err=True)
    click.echo(" ".join(filter(None, (DISCLAIMER, export_format.warning))), err=True)


def _to_utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


def _write(file: IO[bytes], writer: Writer, engine: Engine, statement: Select[Any]) -> int:
    """Write the whole file, with rows from a server-side cursor; return the number of rows."""
    count = 0
    with engine.connect().execution_options(stream_results=True, yield_per=BATCH_ROWS) as connection:
        file.write(writer.begin())
        for batch in connection.execute(statement).partitions():
            file.write(writer.rows(batch))
            count += len(batch)
        file.write(writer.end())
    return count


@contextmanager
def _atomic_output(output: Path | None) -> Iterator[IO[bytes]]:
    """Yield the output file, which gets its name only after success; without a path, yield standard output."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
