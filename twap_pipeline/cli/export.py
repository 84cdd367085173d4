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
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.formats import BATCH_ROWS, DISCLAIMER, FORMATS, Writer
from twap_pipeline.exports.rows import wallet_orders
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


@click.command()
@click.option("--wallet", required=True, callback=_parse_wallet, help="Wallet that owns the orders, in any case.")
@click.option("--start", type=_TIME, help="First UTC day or time of the orders' last events.")
@click.option(
    "--end", type=_TIME, help="Day or time after the range: the end is exclusive. For the year 2025: 2026-01-01."
)
@click.option("--format", "name", type=click.Choice(list(FORMATS)), default="csv", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_require_name,
    help="File.  [default: standard output]",
)
def export(wallet: str, start: datetime | None, end: datetime | None, name: str, output: Path | None) -> None:
    """Export the orders of a wallet, one row per order.

    The output file is created only when it is complete. The exit status is 1 if the export fails.
    """
    if start and end and start >= end:
        raise click.UsageError("--start must be before --end, which is exclusive")
    export_format = FORMATS[name]
    statement = wallet_orders(wallet, _to_utc(start), _to_utc(end), executed_only=export_format.executed_only)
    with _atomic_output(output) as file, database(load_settings()) as (engine, _):
        require_readable(engine)
        count = _write(file, export_format.make_writer(), engine, statement)
    click.echo(f"exported {count:,} orders{_describe_range(start, end)}{f' to {output}' if output else ''}", err=True)
    click.echo(" ".join(filter(None, (DISCLAIMER, export_format.warning))), err=True)


def _to_utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


def _describe_range(start: datetime | None, end: datetime | None) -> str:
    """Return the range as text, so that nobody has to guess whether its last day is included."""
    bounds = [f"from {start} UTC" if start else "", f"before {end} UTC" if end else ""]
    return f" with their last event {' and '.join(filter(None, bounds))}" if start or end else ""


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
