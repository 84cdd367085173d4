"""After one machine, tried small: a table partitioned by month, a BRIN index on time, several loaders at once.

The same ready-made rows, spread over a year, go into each form of the table; what comes of it is in docs/scaling.md.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from benchmarks.harness import Bench
from benchmarks.one_object import write_ready
from twap_pipeline.sample import write_object
from twap_pipeline.storage.loading.merge import COPIED_COLUMNS

_MONTHS = 12
_PARTS = "".join(
    f"CREATE TABLE form_{month} PARTITION OF form"
    f" FOR VALUES FROM ('2025-08-01Z'::timestamptz + interval '{month} months')"
    f" TO ('2025-08-01Z'::timestamptz + interval '{month + 1} months');"
    for month in range(_MONTHS + 2)
)
FORMS: dict[str, str] = {
    "one table (as it is)": "CREATE TABLE form (LIKE twap_status INCLUDING ALL)",
    "one table and a BRIN index on ts": "CREATE TABLE form (LIKE twap_status INCLUDING ALL);"
    "CREATE INDEX ON form USING brin (ts)",
    "one table and a B-tree index on ts": "CREATE TABLE form (LIKE twap_status INCLUDING ALL);"
    "CREATE INDEX ON form (ts)",
    "partitioned by month": "CREATE TABLE form (LIKE twap_status INCLUDING ALL) PARTITION BY RANGE (ts)",
}
_READS: dict[str, str] = {
    "wallet": "SELECT * FROM form WHERE wallet = %(wallet)s AND ts >= %(ts)s AND ts < %(ts)s + interval '1 day'"
    " ORDER BY ts LIMIT 100",
    "order": "SELECT * FROM form WHERE twap_id = %(twap_id)s ORDER BY ts",
    "day": "SELECT count(*) FROM form WHERE ts >= %(ts)s AND ts < %(ts)s + interval '1 day'",
}


def run(bench: Bench) -> None:
    """Print what each form costs."""
    rows = 12_000 if bench.is_quick else 480_000
    base, ready = bench.folder / "beyond.parquet", bench.folder / "beyond.copy"
    write_object(base, rows // _MONTHS)
    write_ready(base, ready)
    print(f"{f'{rows:,} rows over a year':<58} {'load s':>8} {'indexes':>8} {'wallet':>8} {'order':>8} {'a day':>8}")
    for name, form in FORMS.items():
        taken = [_measure(bench.url, form, ready) for _ in range(bench.rounds)]
        seconds, size, *reads = (statistics.median(column) for column in zip(*taken, strict=True))
        said = " ".join(f"{one:>8.2f}" for one in reads)
        print(f"{name:<58} {seconds:>8.2f} {f'{size:.0f} MB':>8} {said}", flush=True)
    print("  (reads: p95, milliseconds)\n")
    _loaders(bench, rows)


def _measure(url: str, form: str, ready: Path) -> tuple[float, ...]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS form")
        connection.execute("SET timezone = 'UTC'")
        connection.execute((form + (";" + _PARTS if "PARTITION" in form else "")).encode())
        connection.execute("CHECKPOINT")
        started = time.perf_counter()
        for month in range(_MONTHS):
            _copy(connection, ready, month)
        seconds = time.perf_counter() - started
        connection.execute("VACUUM ANALYZE form")
        parts = "pg_partition_tree('form')" if "PARTITION" in form else "(SELECT 'form'::regclass AS relid) AS parts"
        size = _one(connection, f"SELECT sum(pg_indexes_size(relid)) FROM {parts}")
        reads = [_p95(connection, question) for question in _READS.values()]
    return (seconds, size / 1_000_000, *reads)


def _copy(connection: "psycopg.Connection[tuple[object, ...]]", ready: Path, month: int) -> None:
    """COPY the rows as those of a later month: by a table of one month, for COPY itself cannot shift them."""
    names = ", ".join(COPIED_COLUMNS)
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS month (LIKE twap_status)")
    connection.execute("ALTER TABLE month ALTER inserted_at DROP NOT NULL")
    if _one(connection, "SELECT count(*) FROM month") == 0:
        with ready.open("rb") as rows, connection.cursor().copy(f"COPY month ({names}) FROM STDIN".encode()) as stream:
            while block := rows.read(1 << 20):
                stream.write(block)
    shifted = names.replace("twap_id", "(twap_id::bigint + %(ids)s)::text", 1)
    shifted = shifted.replace(" ts,", " ts + %(months)s ::interval,", 1)
    statement = f"INSERT INTO form ({names}) SELECT {shifted} FROM month"
    connection.execute(statement.encode(), {"ids": month * 100_000_000, "months": f"{month} months"})


def _p95(connection: "psycopg.Connection[tuple[object, ...]]", question: str) -> float:
    rows = connection.execute("SELECT twap_id, wallet, ts FROM form ORDER BY hashtext(twap_id) LIMIT 200").fetchall()
    taken = []
    for _ in range(2):  # the second time is warm
        taken = [_milliseconds(connection, question, row) for row in rows]
    return statistics.quantiles(taken, n=20)[18]


def _milliseconds(
    connection: "psycopg.Connection[tuple[object, ...]]", question: str, row: tuple[object, ...]
) -> float:
    values = dict(zip(("twap_id", "wallet", "ts"), row, strict=True))
    started = time.perf_counter()
    connection.execute(question.encode(), values).fetchall()
    return 1_000 * (time.perf_counter() - started)


def _one(connection: "psycopg.Connection[tuple[object, ...]]", question: str) -> float:
    row = connection.execute(question.encode()).fetchone()
    return float(str(row[0])) if row else 0.0


def _loaders(bench: Bench, rows: int) -> None:
    """Print what several processes take that load objects of their own into one database, as workers would."""
    print(f"{f'{rows:,} rows by several processes, one connection each':<58} {'seconds':>8} {'speed-up':>8}")
    alone = 0.0
    for count in (1, 2, 4):
        folders = [bench.folder / f"worker-{count}-{number}" for number in range(count)]
        for number, folder in enumerate(folders):
            for part in range(8 // count):
                first = 1_050_000 + (number * 8 + part) * rows
                write_object(folder / f"{number}-{part}.parquet", rows // 8, seed=part, first_twap_id=first)
        seconds = statistics.median(_side_by_side(bench, folders) for _ in range(bench.rounds))
        alone = alone or seconds
        print(f"{f'{count} processes':<58} {seconds:>8.2f} {alone / seconds:>8.2f}", flush=True)
    print()


def _side_by_side(bench: Bench, folders: list[Path]) -> float:
    bench.empty()
    command = (sys.executable, "-m", "benchmarks.workloads", "ingest", bench.url)
    started = time.perf_counter()
    workers = [subprocess.Popen((*command, folder.as_uri() + "/", "1"), stdout=subprocess.PIPE) for folder in folders]
    if any(worker.wait() for worker in workers):
        raise SystemExit("a worker failed")
    return time.perf_counter() - started
