"""The pieces of work that are measured, each one function; ``python -m benchmarks.workloads NAME ARGUMENT…`` runs one.

A function makes everything ready, imports and connections, and returns what is measured.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twap_pipeline.domain.object_ref import ObjectRef

if TYPE_CHECKING:
    from twap_pipeline.source.base import ObjectStore

DAY = date(2026, 11, 1)
LAST_MODIFIED = datetime(2026, 11, 20, tzinfo=UTC)

Work = Callable[[], None]


def ref_of(path: Path, key: str) -> ObjectRef:
    """Return a listing entry for a local file under a key."""
    return ObjectRef(key, "benchmark", LAST_MODIFIED, path.stat().st_size)


def copy_file(url: str, file: str) -> Work:
    """The limit: COPY of ready-made rows into the same table by one connection."""
    import psycopg

    from twap_pipeline.storage.loading.merge import COPIED_COLUMNS

    statement = f"COPY twap_status ({', '.join(COPIED_COLUMNS)}) FROM STDIN"
    connection = psycopg.connect(url)

    def copy() -> None:
        with connection, Path(file).open("rb") as rows, connection.cursor().copy(statement) as stream:
            while block := rows.read(1 << 20):
                stream.write(block)

    return copy


def ingest(url: str, source_url: str, connections: str) -> Work:
    """Every object of a place through the pipeline: fetch, decode, normalize, COPY, ledger, commit."""
    from twap_pipeline.ingest.load import ingest_objects
    from twap_pipeline.storage.engine.engine import make_engine
    from twap_pipeline.storage.engine.url import parse_database_url

    store = _store(source_url)
    refs = list(store.list_objects())
    engine = make_engine(parse_database_url(url))
    engine.connect().close()

    def load() -> None:
        done = ingest_objects(store, engine, refs, DAY, connections=int(connections))
        if failed := [one.error for one in done if one.error or one.skipped]:
            raise SystemExit(f"{len(failed)} objects were not loaded: {failed[0]}")

    return load


def nothing_new(url: str, objects: str) -> Work:
    """Plan so many objects that the ledger holds already; the listing itself is not counted."""
    from benchmarks.plan_large_log import listing_of
    from twap_pipeline.ingest.plan import group_by_day, plan
    from twap_pipeline.storage.engine.engine import make_engine
    from twap_pipeline.storage.engine.url import parse_database_url
    from twap_pipeline.storage.ingest_log import read_ingest_log

    listing = listing_of(int(objects))
    engine = make_engine(parse_database_url(url))
    engine.connect().close()

    def look() -> None:
        with engine.connect() as connection:
            ledger = read_ingest_log(connection)
        if any(plan(refs, ledger).pending for refs in group_by_day(listing).values()):
            raise SystemExit("something was new")

    return look


def peer(url: str, name: str, folder: str) -> Work:
    """Another tool's way to load the same objects."""
    from benchmarks.competitors import PEERS

    return PEERS[name](url, Path(folder))


def _store(source_url: str) -> "ObjectStore":
    from twap_pipeline.source.base import S3Location, parse_source_url
    from twap_pipeline.source.local import LocalDirectory
    from twap_pipeline.source.s3 import S3Bucket

    place = parse_source_url(source_url)
    if not isinstance(place, S3Location):
        return LocalDirectory(place)
    import boto3

    return S3Bucket(boto3.client("s3"), place)


WORK: dict[str, Callable[..., Work]] = {"copy": copy_file, "ingest": ingest, "nothing_new": nothing_new, "peer": peer}


def main() -> None:
    """Run one piece of work and print what it took as JSON."""
    name, *arguments = sys.argv[1:]
    work = WORK[name](*arguments)
    before, started, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
    work()
    took = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_megabytes": peak_megabytes(),
        "added_megabytes": peak_megabytes() - before,
    }
    print(json.dumps(took))


def peak_megabytes(pid: int | str = "self") -> float:
    """Return a process's own peak of resident memory; ru_maxrss would count the parent's before the exec."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    main()
