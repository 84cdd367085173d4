"""The command ``export``: writes a wallet's orders or fills to a file or to standard output."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, get_args

import click
from sqlalchemy import Engine

from twap_pipeline.cli.context import database
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.export import ExportRequest, PreparedExport, prepare_export, read_statement
from twap_pipeline.exports.formats import BATCH_ROWS, FORMATS
from twap_pipeline.exports.tax.queries import MarketChoice, TaxRows
from twap_pipeline.settings import load_settings
from twap_pipeline.storage.schema.revision_gate import require_readable

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
_WALLET = re.compile("0x[0-9a-f]{40}")


def _parse_wallet(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    wallet = value.lower()
    if not _WALLET.fullmatch(wallet):
        raise click.BadParameter("must be 0x and 40 hex digits")
    return wallet


def _require_name(_context: click.Context, _parameter: click.Parameter, output: Path | None) -> Path | None:
    if output is not None and not output.name:
        raise click.BadParameter("is not the name of a file")
    return output


_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.option("--wallet", required=True, callback=_parse_wallet, help="Wallet that owns the orders, in any case.")
@click.option(
    "--start", type=_TIME, help="First UTC day or time: of the orders' last events, in a file from fills of the fills."
)
@click.option(
    "--end", type=_TIME, help="Day or time after the range: the end is exclusive. For the year 2025: 2026-01-01."
)
@click.option("--format", "name", type=click.Choice(list(FORMATS)), default="csv", show_default=True)
@click.option(
    "--market",
    type=click.Choice(get_args(MarketChoice)),
    help="Orders of this market.  [default: spot for a tax tool, else all]",
)
@click.option(
    "--rows",
    type=click.Choice(get_args(TaxRows)),
    help="Rows of a tax file: whole orders without fees, or the fills of an order and UTC day, or fills."
    "  [default: days if fills are loaded, else orders]",
)
@click.option(
    "--skip-incomplete",
    is_flag=True,
    help="In a tax file, leave out orders that cannot be written or lack fills, and print their ids.",
)
@click.option(
    "--statement",
    type=_FILE,
    callback=_require_name,
    help="File for the accompanying statement of a tax file: what reconciles, sums, and what is missing.",
)
@click.option("--output", type=_FILE, callback=_require_name, help="File.  [default: standard output]")
def export(
    *,
    wallet: str,
    start: datetime | None,
    end: datetime | None,
    name: str,
    market: MarketChoice | None,
    rows: TaxRows | None,
    skip_incomplete: bool,
    statement: Path | None,
    output: Path | None,
) -> None:
    """Export the orders or fills of a wallet; for a tax tool the fills, if they are loaded.

    The output file is created only when it is complete. The exit status is 1 if the export fails. The statement is also
    written if the tax file is refused because it is incomplete.
    """
    if start and end and start >= end:
        raise click.UsageError("--start must be before --end, which is exclusive")
    request = ExportRequest(name, wallet, _to_utc(start), _to_utc(end), market, skip_incomplete, rows)
    with database(load_settings()) as (engine, _):
        require_readable(engine)
        if statement is not None:
            _write_statement(statement, engine, request)
        with _atomic_output(output) as file:
            prepared, count = _write(file, engine, request)
    text = _describe_content(prepared, count, _describe_range(prepared, start, end))
    click.echo(f"exported {text}{f' to {output}' if output else ''}", err=True)
    for note in (prepared.disclaimer, *(prepared.review.notes() if prepared.review else ())):
        click.echo(note, err=True)


def _to_utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


def _describe_content(prepared: PreparedExport, row_count: int, time_range: str) -> str:
    """Return what was exported: orders, or the lines of a tax file from fills."""
    review = prepared.review
    if review is None:
        return f"{row_count:,} {'fills' if prepared.is_of_fills else 'orders'}{time_range}"
    order_count, line_count = len(review.line_counts), sum(review.line_counts.values())
    if review.rows == "orders":
        return f"{order_count:,} orders{time_range}"
    return f"{line_count:,} rows ({review.rows}) of {order_count:,} orders{time_range}"


def _describe_range(prepared: PreparedExport, start: datetime | None, end: datetime | None) -> str:
    """Return the range as text, so that nobody has to guess whether its last day is included."""
    bounds = [f"from {start} UTC" if start else "", f"before {end} UTC" if end else ""]
    if prepared.is_of_fills:
        what = "time"
    else:
        what = "last event" if prepared.review is None or prepared.review.rows == "orders" else "fills"
    return f" with their {what} {' and '.join(filter(None, bounds))}" if start or end else ""


def _write_statement(path: Path, engine: Engine, request: ExportRequest) -> None:
    """Write the accompanying statement of a tax file as text."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        statement = read_statement(connection, request)
    with _atomic_output(path) as file:
        file.writelines(f"{line}\n".encode() for line in statement.lines())


def _write(file: IO[bytes], engine: Engine, request: ExportRequest) -> tuple[PreparedExport, int]:
    """Write the whole file, with rows from a server-side cursor; return the export and its number of rows."""
    count = 0
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        prepared = prepare_export(connection, request)
        file.write(prepared.writer.begin())
        result = connection.execute(prepared.statement, execution_options={"yield_per": BATCH_ROWS})
        for batch in result.partitions():
            file.write(prepared.writer.rows(batch))
            count += len(batch)
        file.write(prepared.writer.end())
    return prepared, count


@contextmanager
def _atomic_output(output: Path | None) -> Iterator[IO[bytes]]:
    """Yield the output file, which gets its name only after success; without a path, yield standard output.

    Devices and pipes, such as /dev/stdout, are written directly.

    Raises:
        ExportError: The file cannot be written; then no file has its name, or an older file keeps it.
    """
    try:
        if output is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif output.exists() and not output.is_file():
            with output.open("wb") as file:
                yield file
        else:
            with _replacement(output.resolve()) as file:
                yield file
    except BrokenPipeError:  # click ends the command, as for every program before `head`
        raise
    except OSError as error:
        raise ExportError(
            f"cannot write {output or 'standard output'}: {error.strerror or error}; "
            "choose an existing directory with free space that you can write to"
        ) from error


@contextmanager
def _replacement(target: Path) -> Iterator[IO[bytes]]:
    """Yield a new file in the same directory, which replaces the target after success."""
    partial = target.with_name(f".twap-export-{os.getpid()}.part")  # short: the target's name can have any length
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
