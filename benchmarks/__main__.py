"""``python -m benchmarks [--rows N] [--rounds N]``: one object against the COPY of the same rows, in turns."""

import argparse
import os
import platform
import statistics
import tempfile
from pathlib import Path

import psycopg

from benchmarks.children import Measured, measure
from benchmarks.work import ref_of
from twap_pipeline.ingest.reading import Reading
from twap_pipeline.source.sample import write_object
from twap_pipeline.storage.database import make_engine, parse_database_url
from twap_pipeline.storage.embedded import EmbeddedPostgres
from twap_pipeline.storage.migrations import upgrade
from twap_pipeline.storage.twap_status import as_block


def main() -> None:
    """Print one table of medians."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="twap-benchmark-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            url = server.start()
            _print_setting(url, given.rows)
            limit, ours = _one_object(url, Path(folder) / "objects", given.rows, given.rounds)
    _print_row("COPY of the ready-made rows (limit)", limit, limit)
    _print_row("ingest_object", ours, limit)


def _one_object(url: str, folder: Path, rows: int, rounds: int) -> tuple[list[Measured], list[Measured]]:
    engine = make_engine(parse_database_url(url))
    upgrade(engine)
    engine.dispose()
    folder.mkdir()
    path = folder / "object.parquet"
    write_object(path, rows)
    ready = folder / "_rows.copy"
    ref = ref_of(path, path.name)
    with path.open("rb") as file, ready.open("wb") as out:
        for portion in Reading(ref, file).portions():
            out.write(as_block(ref, portion).text)
    limit: list[Measured] = []
    ours: list[Measured] = []
    for _ in range(rounds):
        for work, source, measured in (("copy_file", ready, limit), ("ingest_file", path, ours)):
            _empty(url)
            measured.append(measure(work, url, str(source)))
    return limit, ours


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE twap_status, etl_s3_ingest_log, twap_status_rejected")
        connection.execute("CHECKPOINT")


def _print_setting(url: str, rows: int) -> None:
    with psycopg.connect(url) as connection:
        version = connection.execute("SHOW server_version").fetchone()
    print(f"{rows:,} rows; PostgreSQL {version[0] if version else '?'}, default settings; ", end="")
    print(f"Python {platform.python_version()}; {os.cpu_count()} cores; medians\n")
    print(f"{'work':<40} {'seconds':>8} {'x limit':>8} {'CPU s':>7} {'peak MB':>8}")


def _print_row(name: str, measured: list[Measured], limit: list[Measured]) -> None:
    seconds = statistics.median(one.seconds for one in measured)
    ratio = statistics.median(one.seconds / base.seconds for one, base in zip(measured, limit, strict=True))
    cpu = statistics.median(one.cpu_seconds for one in measured)
    peak = max(one.peak_megabytes for one in measured)
    print(f"{name:<40} {seconds:>8.2f} {ratio:>8.2f} {cpu:>7.2f} {peak:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
