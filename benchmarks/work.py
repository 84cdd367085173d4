"""The pieces of work that are measured, each one function; ``python -m benchmarks.work NAME ARGUMENT…`` runs one."""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from twap_pipeline.domain.object_ref import ObjectRef

DAY = date(2026, 11, 1)
LAST_MODIFIED = datetime(2026, 11, 20, tzinfo=UTC)


def ref_of(path: Path, key: str) -> ObjectRef:
    """Return a listing entry for a local file under a key."""
    return ObjectRef(key, "benchmark", LAST_MODIFIED, path.stat().st_size)


def copy_file(url: str, file: str) -> None:
    """The limit: COPY of ready-made rows into the same table."""
    import psycopg

    from twap_pipeline.storage.merging import COPIED_COLUMNS

    statement = f"COPY twap_status ({', '.join(COPIED_COLUMNS)}) FROM STDIN"
    with psycopg.connect(url) as connection, Path(file).open("rb") as rows, connection.cursor().copy(statement) as copy:
        while block := rows.read(1 << 20):
            copy.write(block)


def ingest_file(url: str, file: str) -> None:
    """One object through the pipeline: read, decode, normalize, COPY, ledger, commit."""
    from twap_pipeline.ingest.loading import ingest_object
    from twap_pipeline.source.local import LocalDirectory
    from twap_pipeline.storage.database import make_engine, parse_database_url

    path = Path(file)
    store = LocalDirectory(path.parent)
    ref = next(found for found in store.list_objects() if found.key == path.name)
    done = ingest_object(store, make_engine(parse_database_url(url)), ref, DAY)
    if done.error:
        raise SystemExit(done.error)


WORK: dict[str, Callable[..., None]] = {"copy_file": copy_file, "ingest_file": ingest_file}


def main() -> None:
    """Run one piece of work and print what it took as JSON."""
    name, *arguments = sys.argv[1:]
    started = time.perf_counter()
    WORK[name](*arguments)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    took = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_megabytes": peak_megabytes()}
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
