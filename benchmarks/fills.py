"""``python -m benchmarks.fills``: ingest of fills, the reconciliation view, and requests of an order of many slices.

The limit of the ingest is COPY of the ready rows into the same table, in the same rounds.
"""

import argparse
import http.client
import json
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import psycopg

from benchmarks.api import Call, get_body, print_latencies, run_clients, serve
from benchmarks.fill_workloads import ingest_fills, write_fill_objects
from benchmarks.harness import Bench, open_bench, print_environment, print_table, run_rounds
from benchmarks.workloads import copy_tables, dump_tables
from twap_pipeline.storage.sql_files import load_queries

_SQL = load_queries("benchmarks", "fills.sql")
_LIMIT = "COPY of ready rows (limit)"
_ORDER = {"twap_id": "9000001", "wallet": "0x" + "5" * 40}
_PAGE = 1_000
_CLIENTS = (1, 8)


def main() -> None:
    """Print a table of the ingest, one of the view and one of the requests."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fills", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="fills")
    parser.add_argument("--objects", type=int, default=5, help="objects, one per day")
    parser.add_argument("--rounds", type=int, default=1, help="how often each workload runs")
    parser.add_argument("--slices", type=int, default=20_000, help="fills of the order that the API returns")
    parser.add_argument("--requests", type=int, default=400, help="requests per table row")
    options = parser.parse_args()
    with open_bench(options.rounds, is_quick=False, is_largest=False) as bench:
        print_environment(bench)
        _measure_ingest(bench, options.rows, options.objects)
        with psycopg.connect(bench.url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(_SQL["fill"].encode(), {**_ORDER, "slices": options.slices})
        bench.vacuum()
        _measure_view(bench)
        _measure_requests(bench, options.requests)


def _measure_ingest(bench: Bench, rows: int, objects: int) -> None:
    """Measure the limit and the load; the table contains the loaded fills afterwards."""
    folder, ready = bench.folder / "source", bench.folder / "ready"
    write_fill_objects(folder, objects, rows // objects)
    load = partial(bench.measure_empty, ingest_fills, folder.as_uri() + "/")
    load()
    dump_tables(bench.url, ready, ("twap_fills",))
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    label = f"{objects} objects of {rows // objects:,} fills, {size_bytes / 1e6:.0f} MB"
    results = run_rounds(
        bench.rounds, {_LIMIT: partial(bench.measure_empty, copy_tables, str(ready)), f"ingest, {label}": load}
    )
    print_table(f"{rows:,} fills", results, _LIMIT)


def _measure_view(bench: Bench) -> None:
    with psycopg.connect(bench.url, autocommit=True) as connection:
        print(f"{'view twap_order_reconciliation':<36} {'ms':>8}")
        for label, name in {"one order": "select_reconciliation", "all orders": "count_states"}.items():
            started = time.perf_counter()
            rows = connection.execute(_SQL[name].encode(), _ORDER).fetchall()
            print(f"{label:<36} {(time.perf_counter() - started) * 1000:>8.1f}  {rows}", flush=True)


def _measure_requests(bench: Bench, requests: int) -> None:
    order = f"/api/v2/orders/{_ORDER['twap_id']}"
    with serve(bench.url) as (port, _):
        pages = list(_pages(port, f"{order}/fills?limit={_PAGE}"))
        paths = {
            f"any page of {_PAGE:,} fills": pages,
            "first 100 fills": [f"{order}/fills?limit=100"],
            "order": [order],
        }
        columns = f"{'clients':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'req/s':>7} {'x limit':>8}"
        print(f"\n{f'order of {len(pages)} pages':<36} {columns}")
        for label, choices in paths.items():
            for clients in _CLIENTS:
                print_latencies(label, clients, run_clients(_connect(port, choices), clients, requests), None)


def _pages(port: int, path: str) -> list[str]:
    """Return the path of each page, by following the cursors."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    paths = [path]
    while cursor := json.loads(get_body(connection, paths[-1]))["next_cursor"]:
        paths.append(f"{path}&cursor={quote(cursor)}")
    return paths


def _connect(port: int, paths: list[str]) -> Callable[[], Call]:
    def connect() -> Call:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        return lambda rng: get_body(connection, rng.choice(paths))

    return connect


if __name__ == "__main__":
    main()
