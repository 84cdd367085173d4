"""One large object against the COPY of the same rows: new, half there already, and once more without change."""

import os
import shutil
import time
from functools import partial
from pathlib import Path

import psycopg
import pyarrow.parquet as pq

from benchmarks.harness import Bench, in_turns, print_table
from benchmarks.subprocess_timer import Measured, measure
from benchmarks.workloads import ref_of
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.sample import write_object
from twap_pipeline.storage.loading.merge import COPIED_COLUMNS
from twap_pipeline.storage.loading.status_writer import encode_batch

LIMIT = "COPY of the ready-made rows (limit)"
NEW = "one object: all new"
AGAIN = "one object: the same bytes again"
HALF = "one object: every second row there, of a newer object"
HALF_OLD = "one object: every second row there, of an older object"
GROWN = "one object: half there, of its own earlier version"


def run(bench: Bench) -> None:
    """Print the table."""
    rows = 20_000 if bench.is_quick else 1_000_000
    taken = measure_rows(bench, rows, bench.rounds, with_half=True)
    print_table(f"{rows:,} rows", taken, LIMIT)


def measure_rows(bench: Bench, rows: int, rounds: int, *, with_half: bool) -> dict[str, list[Measured]]:
    """Return what an object of so many rows takes, and what its limit does."""
    folder = bench.folder / f"one-{rows}"
    path = folder / "object.parquet"
    write_object(path, rows)
    ready = bench.folder / f"rows-{rows}.copy"
    write_ready(path, ready)
    works = {LIMIT: partial(_copy, bench, ready), NEW: partial(_new, bench, path)}
    if with_half:
        newer, older = bench.folder / "newer.copy", bench.folder / "older.copy"
        _write_half(ready, newer, "2030-01-01")
        _write_half(ready, older, "2020-01-01")
        works |= {
            AGAIN: partial(_again, bench, path),
            HALF: partial(_half, bench, newer, path),
            HALF_OLD: partial(_half, bench, older, path),
            GROWN: partial(_grown, bench, path),
        }
    return in_turns(rounds, works)


def _ingest(bench: Bench, path: Path) -> Measured:
    return measure(bench.postmaster, "ingest", bench.url, path.parent.as_uri() + "/", "1")


def _copy(bench: Bench, ready: Path) -> Measured:
    bench.empty()
    return measure(bench.postmaster, "copy", bench.url, str(ready))


def _new(bench: Bench, path: Path) -> Measured:
    bench.empty()
    return _ingest(bench, path)


def _again(bench: Bench, path: Path) -> Measured:
    """Load, change the file's time alone, load once more; the table must not have changed a tuple."""
    bench.empty()
    _ingest(bench, path)
    versions = "SELECT count(*), sum(hashtextextended(ctid::text || xmin::text || xmax::text, 0)) FROM twap_status"
    with psycopg.connect(bench.url, autocommit=True) as connection:
        before = connection.execute(versions).fetchone()
        connection.execute("CHECKPOINT")
        os.utime(path, (time.time(), path.stat().st_mtime + 1))
        took = _ingest(bench, path)
        if connection.execute(versions).fetchone() != before:
            raise SystemExit("loading the same bytes again touched a row")
    return took


def _half(bench: Bench, half: Path, path: Path) -> Measured:
    bench.empty()
    measure(bench.postmaster, "copy", bench.url, str(half))
    _tidy(bench)
    return _ingest(bench, path)


def _grown(bench: Bench, path: Path) -> Measured:
    """Load an object of the first half of the rows, overwrite it with all of them, and load that."""
    bench.empty()
    grown = bench.folder / "grown" / path.name
    grown.parent.mkdir(exist_ok=True)
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows // 2), grown)
    _ingest(bench, grown)
    _tidy(bench)
    shutil.copyfile(path, grown)
    return _ingest(bench, grown)


def _tidy(bench: Bench) -> None:
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE twap_status")
        connection.execute("CHECKPOINT")


def write_ready(path: Path, ready: Path) -> None:
    """Write an object's rows as COPY text."""
    ref = ref_of(path, path.name)
    with path.open("rb") as file, ready.open("wb") as out:
        for batch in ObjectReader(ref, file).batches():
            out.write(encode_batch(ref, batch).text)


def _write_half(ready: Path, half: Path, modified: str) -> None:
    """Write every second row as another object's."""
    key, at = COPIED_COLUMNS.index("s3_object_key"), COPIED_COLUMNS.index("s3_last_modified")
    with ready.open("rb") as rows, half.open("wb") as out:
        for number, row in enumerate(rows):
            if number % 2:
                fields = row.rstrip(b"\n").split(b"\t")
                fields[key], fields[at] = b"other.parquet", f"{modified} 00:00:00+00".encode()
                out.write(b"\t".join(fields) + b"\n")
