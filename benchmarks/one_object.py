"""One object: end to end with orders, new rows, overlapping rows, and the same bytes again. The limit is COPY."""

import os
import shutil
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.harness import Bench, print_table, run_rounds
from benchmarks.ingest_command import ingest_command
from benchmarks.subprocess_timer import Measurement
from benchmarks.workloads import copy_file, copy_tables, dump_tables, ingest, write_copy_text
from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.storage.loading.merge import copied_columns
from twap_pipeline_tests.large_object import write_object

LIMIT = "COPY of encoded rows (limit)"
BOTH_LIMIT = "COPY of both tables (limit)"
END_TO_END = "twap-pipeline ingest, with orders"
NEW = "one object: all rows new"
AGAIN = "one object: the same bytes again"
HALF_NEWER = "one object: every second row stored, from a newer object"
HALF_OLDER = "one object: every second row stored, from an older object"
REPLACED = "one object: first half stored, from its previous version"


def run(bench: Bench) -> None:
    """Print the tables of one large object: end to end, and the load alone."""
    rows = 20_000 if bench.is_quick else 1_000_000
    path, encoded = write_input(bench, rows)
    print_table(f"{rows:,} rows, end to end", run_rounds(bench.rounds, end_to_end_runs(bench, path)), BOTH_LIMIT)
    print_table(f"{rows:,} rows", _measure_overlaps(bench, path, encoded), LIMIT)


def run_scale(bench: Bench) -> None:
    """Print a table per object size: powers of ten."""
    sizes = (1_000, 10_000) if bench.is_quick else (10_000, 100_000, 1_000_000)
    for rows in (*sizes, 10_000_000) if bench.is_largest else sizes:
        rounds = 1 if rows > 1_000_000 else bench.rounds
        print_table(f"{rows:,} rows", measure_new(bench, rows, rounds), LIMIT)


def measure_new(bench: Bench, rows: int, rounds: int) -> dict[str, list[Measurement]]:
    """Measure an object of new rows and its limit."""
    path, encoded = write_input(bench, rows)
    return run_rounds(rounds, new_object_runs(bench, path, encoded))


def write_input(bench: Bench, rows: int) -> tuple[Path, Path]:
    """Write an object, alone in its folder, and its rows as COPY text; return both paths."""
    path, encoded = bench.folder / f"one-{rows}" / "object.parquet", bench.folder / f"one-{rows}.copy"
    write_object(path, rows)
    with encoded.open("wb") as out:
        write_copy_text(path, out)
    return path, encoded


def new_object_runs(bench: Bench, path: Path, encoded: Path) -> dict[str, partial[Measurement]]:
    """Return the limit and the load of an object of new rows, by label."""
    return {
        LIMIT: partial(bench.measure_empty, copy_file, str(encoded)),
        NEW: partial(bench.measure_empty, ingest, _source_url(path), "1"),
    }


def end_to_end_runs(bench: Bench, path: Path) -> dict[str, partial[Measurement]]:
    """Return the ingest command and its limit, by label. The ready rows of the limit are those of one such command."""
    arguments = (_source_url(path), str(bench.folder / "home"))
    bench.measure_empty(ingest_command, *arguments)
    ready = bench.folder / f"{path.parent.name}-tables"
    dump_tables(bench.url, ready)
    return {
        BOTH_LIMIT: partial(bench.measure_empty, copy_tables, str(ready)),
        END_TO_END: partial(bench.measure_empty, ingest_command, *arguments),
    }


def _measure_overlaps(bench: Bench, path: Path, encoded: Path) -> dict[str, list[Measurement]]:
    newer, older = bench.folder / "newer.copy", bench.folder / "older.copy"
    _write_every_second_row(encoded, newer, "2030-01-01")
    _write_every_second_row(encoded, older, "2020-01-01")
    runs = {
        **new_object_runs(bench, path, encoded),
        AGAIN: partial(_measure_again, bench, path),
        HALF_NEWER: partial(_measure_half, bench, path, newer),
        HALF_OLDER: partial(_measure_half, bench, path, older),
        REPLACED: partial(_measure_replaced, bench, path),
    }
    return run_rounds(bench.rounds, runs)


def _source_url(path: Path) -> str:
    return path.parent.as_uri() + "/"


def _measure_again(bench: Bench, path: Path) -> Measurement:
    """Load an object, change only its modification time, and load it again."""
    bench.measure_empty(ingest, _source_url(path), "1")
    bench.vacuum()
    os.utime(path, (time.time(), path.stat().st_mtime + 1))
    return bench.measure(ingest, _source_url(path), "1")


def _measure_half(bench: Bench, path: Path, stored: Path) -> Measurement:
    bench.measure_empty(copy_file, str(stored))
    bench.vacuum()
    return bench.measure(ingest, _source_url(path), "1")


def _measure_replaced(bench: Bench, path: Path) -> Measurement:
    """Load an object of the first half of the rows, overwrite it with all rows, and load it again."""
    replaced = bench.folder / "replaced" / path.name
    replaced.parent.mkdir(exist_ok=True)
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows // 2), replaced)
    bench.measure_empty(ingest, _source_url(replaced), "1")
    bench.vacuum()
    shutil.copyfile(path, replaced)
    return bench.measure(ingest, _source_url(replaced), "1")


def _write_every_second_row(encoded: Path, out_path: Path, last_modified: str) -> None:
    """Write every second row of a COPY text as a row of another object."""
    columns = copied_columns(TWAP_STATUS)
    key_index, time_index = columns.index("s3_object_key"), columns.index("s3_last_modified")
    with encoded.open("rb") as rows, out_path.open("wb") as out:
        for number, row in enumerate(rows):
            if number % 2:
                fields = row.rstrip(b"\n").split(b"\t")
                fields[key_index], fields[time_index] = b"other.parquet", f"{last_modified} 00:00:00+00".encode()
                out.write(b"\t".join(fields) + b"\n")
