"""``python -m benchmarks.api``: measures API requests and exports. The limit is a SELECT of the same rows.

``twap-pipeline serve`` runs in a child process. The clients are threads of this process: over HTTP, and through psycopg
with one connection per client. Clients, API and PostgreSQL use the same cores.
"""

import argparse
import csv
import http.client
import io
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg

from benchmarks.harness import create_database, temporary_server, url_with_password
from benchmarks.subprocess_timer import run_python
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline_tests.process_memory import peak_megabytes

_SQL = load_queries("benchmarks", "api.sql")
_CLIENTS = (1, 32)
_WALLETS = 2_000
_START_TIMEOUT_SECONDS = 60.0
_CLI_WITH_PEAK_MEMORY = """
from twap_pipeline.cli import main
from twap_pipeline_tests.process_memory import peak_megabytes
try:
    main()
finally:
    print(peak_megabytes())
"""

Values = dict[str, str]
Call = Callable[[random.Random], object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A kind of API request and the query that selects the same rows.

    Args:
        label: Name in the table.
        path: Path and query string, a format string of `values`.
        query: Name of the query in ``api.sql``, with the parameters `values`; None if there is no simple one.
        values: Draws parameters, given the number of orders.
    """

    label: str
    path: str
    query: str | None
    values: Callable[[random.Random, int], Values]


@dataclass(frozen=True, slots=True)
class Target:
    """The database, its number of orders, and the port of the API that serves it."""

    url: str
    orders: int
    port: int


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of each request, and of all requests together; the number of requests that the API refused with 503."""

    each: Sequence[float]
    total: float
    refused: int

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile in milliseconds."""
        return statistics.quantiles(self.each, n=100)[percent - 1] * 1000


def _draw_wallet(rng: random.Random) -> str:
    return f"0x{int(rng.random() ** 3 * _WALLETS):040x}"


def _draw_order(rng: random.Random, orders: int) -> Values:
    return {"twap_id": str(1_000_000 + rng.randint(1, min(orders, 40_000)))}


def _draw_month(rng: random.Random, _orders: int) -> Values:
    month = rng.randint(1, 11)
    return {"wallet": _draw_wallet(rng), "start": f"2025-{month:02}-01", "end": f"2025-{month + 1:02}-01"}


def _draw_asset(rng: random.Random, _orders: int) -> Values:
    return {"asset": rng.choice(("BTC", "ETH", "SOL", "HYPE", "%40107")), "wallet": _draw_wallet(rng)}


def _draw_day(rng: random.Random, _orders: int) -> Values:
    month, day = rng.randint(1, 12), rng.randint(1, 27)
    return {"start": f"2025-{month:02}-{day:02}", "end": f"2025-{month:02}-{day + 1:02}"}


ENDPOINTS = (
    Endpoint("100 orders of all wallets", "/api/v2/orders?limit=100", "select_newest_orders", lambda _rng, _orders: {}),
    Endpoint(
        "100 orders of a wallet",
        "/api/v2/orders?wallet={wallet}&limit=100",
        "select_orders_of_a_wallet",
        _draw_month,
    ),
    Endpoint("100 orders of an asset", "/api/v2/orders?asset={asset}&limit=100", None, _draw_asset),
    Endpoint("100 failed orders", "/api/v2/orders?status=error&market=spot&limit=100", None, _draw_asset),
    Endpoint(
        "100 largest orders of a day", "/api/v2/orders?sort=notional&start={start}&end={end}&limit=100", None, _draw_day
    ),
    Endpoint("100 orders ended last", "/api/v2/orders?sort=ended&limit=100", None, _draw_day),
    Endpoint("100 events of the feed", "/api/v2/events?start={start}&limit=100", None, _draw_day),
    Endpoint("an order with its events", "/api/v2/orders/{twap_id}", "select_events_of_an_order", _draw_order),
    Endpoint(
        "summary of a wallet and month",
        "/api/v2/wallets/{wallet}/summary?start={start}&end={end}",
        "select_summary_of_a_wallet",
        _draw_month,
    ),
    Endpoint("leaderboard of a day", "/api/v2/leaderboard?start={start}&end={end}", None, _draw_day),
    Endpoint(
        "pressure of a day by hour", "/api/v2/pressure/history?asset=BTC&start={start}&end={end}", None, _draw_day
    ),
    Endpoint(
        "v1: orders of a wallet and month",
        "/api/v1/twaps?wallet={wallet}&start={start}&end={end}",
        None,
        _draw_month,
    ),
)


class BusyError(RuntimeError):
    """The API refused a request with 503."""


def main() -> None:
    """Print a table of requests and a table of exports."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="events in twap_status")
    parser.add_argument("--requests", type=int, default=2_000, help="requests per table row")
    options = parser.parse_args()
    orders = options.rows // 2
    with temporary_server() as (server_url, folder):
        engine = create_database(server_url, "api")
        url = url_with_password(engine)
        engine.dispose()
        with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(_SQL["fill"].encode(), {"orders": orders, "wallets": _WALLETS})
            connection.execute("VACUUM ANALYZE")
        with serve(url) as (port, pid):
            print(f"{options.rows:,} events; {os.cpu_count()} cores for clients, API and PostgreSQL\n")
            columns = f"{'clients':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'req/s':>7} {'x limit':>8} {'503':>5}"
            print(f"{'requests':<36} {columns}")
            for endpoint in ENDPOINTS:
                for clients in _CLIENTS:
                    select, api = _measure(Target(url, orders, port), endpoint, clients, options.requests)
                    if select:
                        print_latencies("SELECT (limit)", clients, select, select)
                    print_latencies(endpoint.label, clients, api, select)
            _print_exports(url, port, pid, folder)


@contextmanager
def serve(url: str) -> Iterator[tuple[int, int]]:
    """Run the API in a child process; yield its port and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    environment = {**os.environ, "DATABASE_URL": url, "TWAP_API_RATE_LIMIT_PER_MINUTE": "0"}
    command = [sys.executable, "-c", "from twap_pipeline.cli import main; main()", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not _is_ready(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"the API is not ready; exit status {process.poll()}")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(port: int) -> bool:
    with suppress(OSError, RuntimeError):
        return bool(get_body(http.client.HTTPConnection("127.0.0.1", port), "/readyz"))
    return False


def get_body(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Return a response's body.

    Raises:
        BusyError: The status is 503.
        RuntimeError: The status is another one than 200.
    """
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        error = BusyError if response.status == 503 else RuntimeError
        raise error(f"GET {path} returned {response.status}: {body[:200]!r}")
    return body


def _measure(target: Target, endpoint: Endpoint, clients: int, requests: int) -> tuple[Latencies | None, Latencies]:
    """Return the latencies of the SELECT, None without one, and of the API."""

    def connect_http() -> Call:
        connection = http.client.HTTPConnection("127.0.0.1", target.port)
        return lambda rng: get_body(connection, endpoint.path.format(**endpoint.values(rng, target.orders)))

    def connect_psycopg() -> Call:
        connection = psycopg.connect(target.url, autocommit=True)
        query = _SQL[str(endpoint.query)].encode()
        return lambda rng: connection.execute(query, endpoint.values(rng, target.orders)).fetchall()

    run_clients(connect_http, clients, requests // 4)
    select = run_clients(connect_psycopg, clients, requests) if endpoint.query else None
    return select, run_clients(connect_http, clients, requests)


def run_clients(connect: Callable[[], Call], clients: int, requests: int) -> Latencies:
    """Run concurrent clients, each with a connection and a seed of its own."""

    def run_client(seed: int) -> list[float | None]:
        call, rng = connect(), random.Random(seed)
        seconds: list[float | None] = []
        for _ in range(max(1, requests // clients)):
            started = time.perf_counter()
            try:
                call(rng)
            except BusyError:
                seconds.append(None)
            else:
                seconds.append(time.perf_counter() - started)
        return seconds

    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        results = [seconds for client in pool.map(run_client, range(clients)) for seconds in client]
        each = [seconds for seconds in results if seconds is not None]
        return Latencies(each, time.perf_counter() - started, len(results) - len(each))


def print_latencies(label: str, clients: int, latencies: Latencies, limit: Latencies | None) -> None:
    """Print a row of the table of requests: percentiles, rate, and the ratio of the medians to the limit."""
    milliseconds = " ".join(f"{latencies.percentile_ms(percent):>8.1f}" for percent in (50, 95, 99))
    ratio = f"{latencies.percentile_ms(50) / limit.percentile_ms(50):.2f}" if limit else "-"
    rate = len(latencies.each) / latencies.total
    print(f"{label:<36} {clients:>7} {milliseconds} {rate:>7.0f} {ratio:>8} {latencies.refused:>5}", flush=True)


def _print_exports(url: str, port: int, pid: int, folder: Path) -> None:
    """Export one year of the wallet with most orders, by the API and by the command; compare the sums with SQL."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_SQL["select_wallet_with_most_orders"].encode()).fetchone()
    if row is None:
        raise SystemExit("twap_orders is empty")
    wallet, expected = row[0], (row[1], row[2], row[3])
    started = time.perf_counter()
    body = get_body(
        http.client.HTTPConnection("127.0.0.1", port),
        f"/api/v2/wallets/{wallet}/exports/csv?start=2025-01-01&end=2026-01-01",
    )
    seconds = time.perf_counter() - started
    print(f"\n{'exports':<36} {'rows':>9} {'MB':>8} {'seconds':>8} {'peak MB':>8}")
    _print_export("GET exports/csv", body, seconds, peak_megabytes(pid), expected)
    for name in ("csv", "koinly"):
        file = folder / f"year.{name}"
        argv = ["export", "--wallet", wallet, "--start", "2025-01-01", "--end", "2026-01-01"]
        argv += ["--format", name, "--output", str(file)]
        started = time.perf_counter()
        output = run_python(["-c", _CLI_WITH_PEAK_MEMORY, *argv], {"DATABASE_URL": url})
        seconds = time.perf_counter() - started
        peak = float(output.splitlines()[-1])
        _print_export(f"twap-pipeline export --format {name}", file.read_bytes(), seconds, peak, expected)


def _print_export(label: str, file: bytes, seconds: float, peak: float, expected: tuple[int, Decimal, Decimal]) -> None:
    """Print a row of the table of exports. A tax file contains the spot orders only."""
    orders, notional, spot_notional = expected
    rows = list(csv.DictReader(io.StringIO(file.decode())))
    if "notional_executed" in rows[0]:
        is_equal = len(rows) == orders and sum(Decimal(row["notional_executed"]) for row in rows) == notional
    else:
        amounts = (row["Sent Amount"] if row["Sent Currency"] == "USDC" else row["Received Amount"] for row in rows)
        is_equal = sum(map(Decimal, amounts)) == spot_notional
    comparison = "sums equal SQL" if is_equal else f"SUMS DIFFER FROM SQL: {orders} orders, {notional} USD"
    print(f"{label:<36} {len(rows):>9,} {len(file) / 1e6:>8.1f} {seconds:>8.1f} {peak:>8.0f}  {comparison}")


if __name__ == "__main__":
    main()
