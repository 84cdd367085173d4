"""Reads at half a million rows and at ten times that: times, sizes, and which index each one goes by."""

import random
import re
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from benchmarks.harness import Bench
from benchmarks.subprocess_timer import measure
from benchmarks.workloads import DAY
from twap_pipeline.sample import write_object
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.orders.refresh import refresh_orders

_CALLS = 300
_MILLISECONDS_MAX = 4_000
_SHIFT_DAYS = 10
_SHIFT_IDS = 100_000_000

QUESTIONS: dict[str, str] = {
    "a wallet's events of a day, 100": "SELECT * FROM twap_status WHERE wallet = %(wallet)s AND ts >= %(ts)s"
    " AND ts < %(ts)s + interval '1 day' ORDER BY ts, twap_id LIMIT 100",
    "the latest event of an order": "SELECT * FROM twap_status WHERE twap_id = %(twap_id)s ORDER BY ts DESC LIMIT 1",
    "an order's history": "SELECT * FROM twap_status WHERE twap_id = %(twap_id)s ORDER BY ts",
    "one event by its key": "SELECT * FROM twap_status WHERE twap_id = %(twap_id)s AND wallet = %(wallet)s"
    " AND ts = %(ts)s",
    "an asset's events, 100": "SELECT * FROM twap_status WHERE asset = %(asset)s LIMIT 100",
    "an object's events, 100": "SELECT * FROM twap_status WHERE s3_object_key = %(key)s LIMIT 100",
    "an order": "SELECT * FROM twap_orders WHERE twap_id = %(twap_id)s AND wallet = %(wallet)s",
    "a wallet's year of orders, 100": "SELECT * FROM twap_orders WHERE wallet = %(wallet)s"
    " AND started_at >= %(ts)s - interval '1 year' AND started_at < %(ts)s ORDER BY started_at DESC LIMIT 100",
    "active orders, the newest 100": "SELECT * FROM twap_orders WHERE ended_at IS NULL"
    " ORDER BY last_status_at DESC LIMIT 100",
    "a day's figures": "SELECT * FROM twap_daily_stats WHERE day = %(ts)s ::date",
}


def run(bench: Bench) -> None:
    """Print a table for each size."""
    rows = 5_000 if bench.is_quick else 500_000
    bench.empty()
    write_object(bench.folder / "reads" / "copy-0.parquet", rows)
    measure(bench.postmaster, "ingest", bench.url, (bench.folder / "reads").as_uri() + "/", "1")
    _refresh(bench.url, 0)
    _print(bench.url, rows)
    for number in range(1, 10):
        _copy(bench.url, number)
        _refresh(bench.url, number)
    _print(bench.url, 10 * rows)


def _copy(url: str, number: int) -> None:
    """Add the first object's rows once more as other orders, some days later."""
    shift = {"ids": number * _SHIFT_IDS, "days": timedelta(days=number * _SHIFT_DAYS), "key": f"copy-{number}.parquet"}
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO twap_status SELECT (twap_id::bigint + %(ids)s)::text, wallet, ts + %(days)s, asset, side,"
            " size_requested, size_executed, notional_executed, status, duration_minutes, %(key)s, raw_payload,"
            " inserted_at, started_at + %(days)s, status_error, reduce_only, randomize, s3_last_modified"
            " FROM twap_status WHERE s3_object_key = 'copy-0.parquet'",
            shift,
        )
        connection.execute(
            "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, etag, object_date) SELECT"
            " %(key)s, last_modified, ingested_at, etag, object_date + %(number)s FROM etl_s3_ingest_log"
            " WHERE s3_object_key = 'copy-0.parquet'",
            {**shift, "number": number},
        )


def _refresh(url: str, number: int) -> None:
    engine = make_engine(parse_database_url(url))
    with engine.begin() as connection:
        refresh_orders(connection, DAY + timedelta(days=number))
    engine.dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE twap_status")
        connection.execute("VACUUM ANALYZE twap_orders")


def _print(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        print(f"{f'reads at {rows:,} events':<58} {'p50 ms':>8} {'p95 ms':>8}  by")
        sample = _sample(connection)
        for name, question in QUESTIONS.items():
            taken = _warm(connection, question, sample)
            quantiles = statistics.quantiles(taken, n=20)
            said = ", ".join(_indexes(connection, question, sample[0])) or "a scan of the whole table"
            print(f"{name:<58} {quantiles[9]:>8.2f} {quantiles[18]:>8.2f}  {said}")
        for name, size in connection.execute(
            "SELECT relname, pg_size_pretty("
            " CASE relkind WHEN 'i' THEN pg_relation_size(oid) ELSE pg_table_size(oid) END)"
            " FROM pg_class WHERE relname ~ '^twap_(status|orders)' AND relkind IN ('r', 'i') ORDER BY relname"
        ):
            print(f"  {name:<56} {size:>8}")
        print(flush=True)


def _sample(connection: "psycopg.Connection[tuple[object, ...]]") -> list[dict[str, object]]:
    """Return values of random events, the same every time: busy wallets come often, as they are asked for."""
    rows = connection.execute(
        "SELECT twap_id, wallet, ts, asset, s3_object_key FROM twap_status TABLESAMPLE BERNOULLI (2) REPEATABLE (1)"
    ).fetchall()
    chosen = random.Random(1).choices(rows, k=_CALLS)
    return [dict(zip(("twap_id", "wallet", "ts", "asset", "key"), row, strict=True)) for row in chosen]


def _warm(
    connection: "psycopg.Connection[tuple[object, ...]]", question: str, sample: Sequence[dict[str, object]]
) -> list[float]:
    """Return what the sample's questions take the second time; of slow ones fewer are asked."""
    first = [_milliseconds(connection, question, values) for values in sample[:10]]
    asked = sample[: max(10, min(_CALLS, int(_MILLISECONDS_MAX / max(first))))]
    for values in asked:
        _milliseconds(connection, question, values)
    return [_milliseconds(connection, question, values) for values in asked]


def _milliseconds(
    connection: "psycopg.Connection[tuple[object, ...]]", question: str, values: dict[str, object]
) -> float:
    started = time.perf_counter()
    connection.execute(question.encode(), values).fetchall()
    return 1_000 * (time.perf_counter() - started)


def _indexes(
    connection: "psycopg.Connection[tuple[object, ...]]", question: str, values: dict[str, object]
) -> list[str]:
    """Return the indexes of the plan."""
    text = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
    typed = question.replace("%(ts)s", "%(ts)s ::timestamptz")
    plan = connection.execute(sql.SQL("EXPLAIN {}").format(sql.SQL(typed)), text).fetchall()
    return sorted(
        {found for (line,) in plan for found in re.findall(r"(?:using|Scan on) (\w+_(?:idx|pkey))", str(line))}
    )
