"""One large object against the COPY of the same rows: new, half there already, and once more without change."""

import os
import shutil
import time
from functools import partial
from pathlib import Path

import psycopg
import pyarrow.parquet as pq

from benchmarks.bench import Bench, in_turns, print_table
from benchmarks.children import Measured, measure
from benchmarks.work import ref_of
from twap_pipeline.ingest.reading import Reading
from twap_pipeline.source.sample import write_object
from twap_pipeline.storage.merging import COPIED_COLUMNS
from twap_pipeline.storage.twap_status import as_block

LIMIT = "COPY of the ready-made rows (limit)"
NEW = "one object: all new"
AGAIN = "one object: the same bytes again"
HALF = "one object: every second row there, of a newer object"
HALF_OLD = "one object: every second row there, of an older object"
GROWN = "one object: half there, of its own earlier version"


def run(of: Bench) -> None:
    """Print the table."""
    rows = 20_000 if of.is_quick else 1_000_000
    taken = measure_rows(of, rows, of.rounds, with_half=True)
    print_table(f"{rows:,} rows", taken, LIMIT)


def measure_rows(of: Bench, rows: int, rounds: int, *, with_half: bool) -> dict[str, list[Measured]]:
    """Return what an object of so many rows takes, and what its limit does."""
    folder = of.folder / f"one-{rows}"
    path = folder / "object.parquet"
    write_object(path, rows)
    ready = of.folder / f"rows-{rows}.copy"
    write_ready(path, ready)
    works = {LIMIT: partial(_copy, of, ready), NEW: partial(_new, of, path)}
    if with_half:
        newer, older = of.folder / "newer.copy", of.folder / "older.copy"
        _write_half(ready, newer, "2030-01-01")
        _write_half(ready, older, "2020-01-01")
        works |= {
            AGAIN: partial(_again, of, path),
            HALF: partial(_half, of, newer, path),
            HALF_OLD: partial(_half, of, older, path),
            GROWN: partial(_grown, of, path),
        }
    return in_turns(rounds, works)


def _ingest(of: Bench, path: Path) -> Measured:
    return measure(of.postmaster, "ingest", of.url, path.parent.as_uri() + "/", "1")


def _copy(of: Bench, ready: Path) -> Measured:
    of.empty()
    return measure(of.postmaster, "copy", of.url, str(ready))


def _new(of: Bench, path: Path) -> Measured:
    of.empty()
    return _ingest(of, path)


def _again(of: Bench, path: Path) -> Measured:
    """Load, change the file's time alone, load once more; the table must not have changed a tuple."""
    of.empty()
    _ingest(of, path)
    versions = "SELECT count(*), sum(hashtextextended(ctid::text || xmin::text || xmax::text, 0)) FROM twap_status"
    with psycopg.connect(of.url, autocommit=True) as connection:
        before = connection.execute(versions).fetchone()
        connection.execute("CHECKPOINT")
        os.utime(path, (time.time(), path.stat().st_mtime + 1))
        took = _ingest(of, path)
        if connection.execute(versions).fetchone() != before:
            raise SystemExit("loading the same bytes again touched a row")
    return took


def _half(of: Bench, half: Path, path: Path) -> Measured:
    of.empty()
    measure(of.postmaster, "copy", of.url, str(half))
    _tidy(of)
    return _ingest(of, path)


def _grown(of: Bench, path: Path) -> Measured:
    """Load an object of the first half of the rows, overwrite it with all of them, and load that."""
    of.empty()
    grown = of.folder / "grown" / path.name
    grown.parent.mkdir(exist_ok=True)
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows // 2), grown)
    _ingest(of, grown)
    _tidy(of)
    shutil.copyfile(path, grown)
    return _ingest(of, grown)


def _tidy(of: Bench) -> None:
    with psycopg.connect(of.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE twap_status")
        connection.execute("CHECKPOINT")


def write_ready(path: Path, ready: Path) -> None:
    """Write an object's rows as COPY text."""
    ref = ref_of(path, path.name)
    with path.open("rb") as file, ready.open("wb") as out:
        for portion in Reading(ref, file).portions():
            out.write(as_block(ref, portion).text)


def _write_half(ready: Path, half: Path, modified: str) -> None:
    """Write every second row as another object's."""
    key, at = COPIED_COLUMNS.index("s3_object_key"), COPIED_COLUMNS.index("s3_last_modified")
    with ready.open("rb") as rows, half.open("wb") as out:
        for number, row in enumerate(rows):
            if number % 2:
                fields = row.rstrip(b"\n").split(b"\t")
                fields[key], fields[at] = b"other.parquet", f"{modified} 00:00:00+00".encode()
                out.write(b"\t".join(fields) + b"\n")
