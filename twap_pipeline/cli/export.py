"""The command that writes a wallet's orders into a file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from twap_pipeline.cli.context import database
from twap_pipeline.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine, Select

    from twap_pipeline.exports.formats import Writer

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
_WALLET_DIGITS = 40


def _wallet(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    wallet = value.lower()
    if not wallet.startswith("0x") or len(wallet) != _WALLET_DIGITS + 2 or set(wallet[2:]) - set("0123456789abcdef"):
        raise click.BadParameter("a wallet is 0x and 40 hex digits")
    return wallet


@click.command()
@click.option("--wallet", required=True, callback=_wallet, help="The orders' owner, in any case.")
@click.option("--start", type=_DAY, help="First UTC day or moment of the orders' last events, inside the range.")
@click.option("--end", type=_DAY, help="Last one, outside the range.")
@click.option(
    "--format", "name", type=click.Choice(["csv", "parquet", "koinly", "cointracker"]), default="csv", show_default=True
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output.")
def export(wallet: str, start: datetime | None, end: datetime | None, name: str, output: Path | None) -> None:
    """Write a wallet's orders into a file, a row an order.

    The file appears under its name only when it is complete. Exit status 1 tells that it is not.
    """
    from twap_pipeline.exports.formats import DISCLAIMER, FORMATS
    from twap_pipeline.exports.rows import wallet_orders
    from twap_pipeline.storage.schema.revision_gate import require_head

    kind = FORMATS[name]
    statement = wallet_orders(wallet, _utc(start), _utc(end), executed_only=kind.executed_only)
    with database(load_settings()) as (engine, _), _atomic_output(output) as file:
        require_head(engine)
        count = _write(file, kind.writer(), engine, statement)
    click.echo(f"{count:,} orders{f' in {output}' if output else ''}", err=True)
    click.echo(" ".join(filter(None, (DISCLAIMER, kind.warning))), err=True)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _write(file: IO[bytes], writer: "Writer", engine: "Engine", statement: "Select[Any]") -> int:
    """Write the whole file, its rows read through a cursor; return how many there were."""
    from twap_pipeline.exports.formats import BATCH_ROWS

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
    """Open what to write to; a file has another name until it is complete, and is gone if that never happens."""
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
