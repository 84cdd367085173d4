"""Read queries at two table sizes: latency, the indexes that the plan uses, and the sizes of tables and indexes."""

import random
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import psycopg
from psycopg.rows import dict_row

from benchmarks.harness import Bench
from benchmarks.workloads import PARTITION_DATE, ingest
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.orders.refresh import refresh_orders
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline_tests.large_object import write_object

_SQL = load_queries("benchmarks", "reads.sql")
_READS = {name: text for name, text in _SQL.items() if name.startswith("read_")}
_CALLS = 300
_MAX_MS_PER_QUERY = 4_000
_DAYS_BETWEEN_COPIES = 10
_IDS_BETWEEN_COPIES = 100_000_000

Connection = psycopg.Connection[tuple[object, ...]]
Values = Mapping[str, object]


def run(bench: Bench) -> None:
    """Print a table for one object and a table for ten times as many rows."""
    rows = 5_000 if bench.is_quick else 500_000
    folder = bench.folder / "reads"
    write_object(folder / "copy-0.parquet", rows)
    bench.measure_empty(ingest, folder.as_uri() + "/", "1")
    _refresh(bench, copy_number=0)
    _print_reads(bench.url, rows)
    for number in range(1, 10):
        _add_copy(bench.url, number)
        _refresh(bench, copy_number=number)
    _print_reads(bench.url, 10 * rows)


def _add_copy(url: str, number: int) -> None:
    values = {
        "id_offset": number * _IDS_BETWEEN_COPIES,
        "time_offset": timedelta(days=number * _DAYS_BETWEEN_COPIES),
        "key": f"copy-{number}.parquet",
        "number": number,
    }
    with psycopg.connect(url) as connection:
        connection.execute(_SQL["copy_events"].encode(), values)
        connection.execute(_SQL["copy_log_entry"].encode(), values)


def _refresh(bench: Bench, *, copy_number: int) -> None:
    engine = make_engine(parse_database_url(bench.url))
    with engine.begin() as connection:
        refresh_orders(connection, PARTITION_DATE + timedelta(days=copy_number))
    engine.dispose()
    bench.vacuum()


def _print_reads(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        print(f"{f'reads at {rows:,} events':<58} {'p50 ms':>8} {'p95 ms':>8}  indexes")
        events = connection.cursor(row_factory=dict_row).execute(_SQL["sample_events"].encode()).fetchall()
        sample = random.Random(1).choices(events, k=_CALLS)
        for name, query in _READS.items():
            quantiles = statistics.quantiles(_warm_latencies_ms(connection, query, sample), n=20)
            indexes = ", ".join(_plan_indexes(connection, query, sample[0])) or "sequential scan"
            label = name.removeprefix("read_").replace("_", " ")
            print(f"{label:<58} {quantiles[9]:>8.2f} {quantiles[18]:>8.2f}  {indexes}")
        for relation, size in connection.execute(_SQL["relation_sizes"].encode()):
            print(f"  {relation:<56} {size:>8}")
        print(flush=True)


def _warm_latencies_ms(connection: Connection, query: str, sample: Sequence[Values]) -> list[float]:
    """Return the latencies of the second call per sample. A slow query is called with a part of the sample."""
    slowest_ms = max(_latency_ms(connection, query, values) for values in sample[:10])
    called = sample[: max(10, min(_CALLS, int(_MAX_MS_PER_QUERY / slowest_ms)))]
    for values in called:
        _latency_ms(connection, query, values)
    return [_latency_ms(connection, query, values) for values in called]


def _latency_ms(connection: Connection, query: str, values: Values) -> float:
    started = time.perf_counter()
    connection.execute(query.encode(), values).fetchall()
    return 1_000 * (time.perf_counter() - started)


def _plan_indexes(connection: Connection, query: str, values: Values) -> list[str]:
    """Return the names of the indexes in the plan."""
    plan = psycopg.ClientCursor(connection).execute(b"EXPLAIN " + query.encode(), values).fetchall()
    return sorted({name for (line,) in plan for name in re.findall(r"(?:using|Scan on) (\w+_(?:idx|pkey))", str(line))})
