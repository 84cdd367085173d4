"""Many small objects: from a folder and from S3, with one and two connections, with and without network latency."""

import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, print_table, run_rounds
from benchmarks.one_object import LIMIT
from benchmarks.s3_process import BUCKET, s3_process
from benchmarks.workloads import copy_file, ingest, write_copy_text
from twap_pipeline_tests.large_object import write_object

LATENCY_MS = 20
_PROCESSES_OBJECTS = 8


def run(bench: Bench) -> None:
    """Print the table."""
    objects, rows = (20, 500) if bench.is_quick else (400, 2_500)
    folder, encoded = bench.folder / "many", bench.folder / "many.copy"
    with encoded.open("wb") as out:
        for path in _write_objects(folder, objects, rows):
            write_copy_text(path, out)
    with s3_process(folder, 0) as fast, s3_process(folder, LATENCY_MS) as slow:
        runs = {LIMIT: partial(bench.measure_empty, copy_file, str(encoded))}
        for name, url, environment in (
            ("from a folder", folder.as_uri() + "/", {}),
            ("from S3", f"s3://{BUCKET}/", fast),
            (f"from S3, {LATENCY_MS} ms per GET", f"s3://{BUCKET}/", slow),
        ):
            for connections in ("1", "2"):
                label = f"{name}, connections: {connections}"
                runs[label] = partial(bench.measure_empty, ingest, url, connections, environment=environment)
        results = run_rounds(bench.rounds, runs)
    print_table(f"{objects} objects of {rows:,} rows", results, LIMIT)


def _write_objects(folder: Path, objects: int, rows: int, *, first_twap_id: int = 1_050_000) -> list[Path]:
    """Write objects that have no row key in common; return their paths. The first twap_id is the object key."""
    paths = []
    for number in range(objects):
        twap_id = first_twap_id + number * rows
        paths.append(folder / f"{twap_id:010}.parquet")
        write_object(paths[-1], rows, seed=number, first_twap_id=twap_id)
    return paths


def run_processes(bench: Bench) -> None:
    """Print how the load scales with loader processes on one database, one connection each."""
    rows = 12_000 if bench.is_quick else 480_000
    print(f"{f'{rows:,} rows loaded by several processes':<58} {'seconds':>8} {'speed-up':>8}")
    one_process = 0.0
    for processes in (1, 2, 4):
        folders = [bench.folder / f"process-{processes}-{number}" for number in range(processes)]
        for number, folder in enumerate(folders):
            first_twap_id = 1_050_000 + number * rows
            objects = _PROCESSES_OBJECTS // processes
            _write_objects(folder, objects, rows // _PROCESSES_OBJECTS, first_twap_id=first_twap_id)
        seconds = statistics.median(_seconds_of_processes(bench, folders) for _ in range(bench.rounds))
        one_process = one_process or seconds
        print(f"{f'{processes} processes':<58} {seconds:>8.2f} {one_process / seconds:>8.2f}", flush=True)
    print()


def _seconds_of_processes(bench: Bench, folders: list[Path]) -> float:
    """Return the wall-clock time of concurrent loaders, including the start of their processes."""
    bench.truncate()
    command = (sys.executable, "-m", "benchmarks.subprocess_timer", ingest.__module__, ingest.__name__, bench.url)
    started = time.perf_counter()
    loaders = [subprocess.Popen((*command, folder.as_uri() + "/", "1"), stdout=subprocess.PIPE) for folder in folders]
    exit_codes = [loader.wait() for loader in loaders]
    if any(exit_codes):
        raise SystemExit("a loader process failed")
    return time.perf_counter() - started
