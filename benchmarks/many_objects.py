"""Many small objects, from a folder and from S3, by one connection and by two, with and without a slow network."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.harness import Bench, in_turns, print_table
from benchmarks.one_object import LIMIT
from benchmarks.subprocess_timer import Measured, measure
from benchmarks.workloads import ref_of
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.sample import write_object
from twap_pipeline.storage.loading.status_writer import encode_batch

LATENCY_MILLISECONDS = 20


def run(bench: Bench) -> None:
    """Print the table."""
    objects, rows = (20, 500) if bench.is_quick else (400, 2_500)
    folder, ready = bench.folder / "many", bench.folder / "many.copy"
    _write(folder, ready, objects, rows)
    place = folder.as_uri() + "/"
    with s3_process(folder, 0) as near, s3_process(folder, LATENCY_MILLISECONDS) as far:
        works = {LIMIT: partial(_copy, bench, ready)}
        for name, url, environment in (
            ("from a folder", place, {}),
            ("from S3", "s3://benchmark/", near),
            (f"from S3, {LATENCY_MILLISECONDS} ms a GET", "s3://benchmark/", far),
        ):
            for connections in (1, 2):
                said = f"{name}, {connections} connection{'s' if connections > 1 else ''}"
                works[said] = partial(_ingest, bench, url, connections, environment)
        taken = in_turns(bench.rounds, works)
    print_table(f"{objects} objects of {rows:,} rows", taken, LIMIT)


def _copy(bench: Bench, ready: Path) -> Measured:
    bench.empty()
    return measure(bench.postmaster, "copy", bench.url, str(ready))


def _ingest(bench: Bench, source_url: str, connections: int, environment: Mapping[str, str]) -> Measured:
    bench.empty()
    return measure(bench.postmaster, "ingest", bench.url, source_url, str(connections), environment=environment)


def _write(folder: Path, ready: Path, objects: int, rows: int) -> None:
    """Write objects that share no key, and all their rows as one ready-made file."""
    with ready.open("wb") as out:
        for number in range(objects):
            path = folder / f"{number:04}.parquet"
            write_object(path, rows, seed=number, first_twap_id=1_050_000 + number * rows)
            ref = ref_of(path, path.name)
            with path.open("rb") as file:
                for batch in ObjectReader(ref, file).batches():
                    out.write(encode_batch(ref, batch).text)


@contextmanager
def s3_process(folder: Path, latency_milliseconds: int) -> Iterator[dict[str, str]]:
    """Serve a folder's files as a bucket from a process of its own; yield the environment that leads there."""
    command = [sys.executable, "-m", "benchmarks.s3_process", str(folder), str(latency_milliseconds)]
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **account}) as server:
        url = server.stdout.readline().strip() if server.stdout else ""
        try:
            yield {"AWS_ENDPOINT_URL": url, **account}
        finally:
            server.terminate()
