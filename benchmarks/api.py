"""``python -m benchmarks.api [--rows N]``: the API's questions beside plain SELECTs of the same rows; a year's export.

Each question goes over real sockets to ``twap-pipeline serve`` in a process of its own, and beside it, through psycopg
on as many connections as there are clients, as a plain SELECT. Clients are threads of this process.
"""

import argparse
import csv
import http.client
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg

from benchmarks.workloads import peak_megabytes
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade

CLIENTS = (1, 32)
WALLETS = 2_000
FILL = Path(__file__).with_name("api_rows.sql").read_text("utf-8")
_MEASURED = """
from benchmarks.workloads import peak_megabytes
from twap_pipeline.cli import main
try:
    main()
finally:
    print(peak_megabytes())
"""
_HEADS = f"{'question':<34} {'clients':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'req/s':>7} {'x SELECT':>9}"
_COLUMNS = "twap_id, asset, side, status, duration_minutes, ts, size_executed, notional_executed, raw_payload"
Draw = Callable[[random.Random], tuple[str, str, dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Took:
    """What a run of requests took: seconds of each, and of all together."""

    each: Sequence[float]
    whole: float

    def percentile(self, share: int) -> float:
        """Return the milliseconds within which so many of a hundred were answered."""
        return statistics.quantiles(self.each, n=100)[share - 1] * 1000


def page(chance: random.Random) -> tuple[str, str, dict[str, object]]:
    """A wallet's page of 100 orders, the latest first."""
    given = {"wallet": f"0x{int(chance.random() ** 3 * WALLETS):040x}", "end": f"2025-{chance.randint(2, 12):02}-01"}
    later = "SELECT FROM twap_status AS n WHERE n.twap_id = s.twap_id AND n.wallet = s.wallet AND n.ts > s.ts"
    statement = (
        f"SELECT {_COLUMNS} FROM twap_status AS s WHERE wallet = %(wallet)s AND ts < %(end)s AND NOT EXISTS"
        f" ({later} AND n.ts < %(end)s) ORDER BY ts DESC, twap_id DESC LIMIT 100"
    )
    return f"/api/v1/twaps?wallet={given['wallet']}&end={given['end']}&limit=100", statement, dict(given)


def story(chance: random.Random) -> tuple[str, str, dict[str, object]]:
    """An order's events."""
    given = {"twap_id": str(1_000_000 + chance.randint(1, 40_000))}
    return (
        f"/api/v1/twaps/{given['twap_id']}",
        f"SELECT {_COLUMNS} FROM twap_status WHERE twap_id = %(twap_id)s",
        dict(given),
    )


def summary(chance: random.Random) -> tuple[str, str, dict[str, object]]:
    """A wallet's month, added up."""
    month = chance.randint(1, 11)
    given = {
        "wallet": f"0x{int(chance.random() ** 3 * WALLETS):040x}",
        "start": f"2025-{month:02}-01",
        "end": f"2025-{month + 1:02}-01",
    }
    statement = (
        "SELECT asset, side, count(*), sum(size_requested), sum(size_executed), sum(notional_executed) FROM twap_orders"
        " WHERE wallet = %(wallet)s AND last_status_at >= %(start)s AND last_status_at < %(end)s GROUP BY asset, side"
    )
    path = f"/api/v1/wallets/{given['wallet']}/summary?start={given['start']}&end={given['end']}"
    return path, statement, dict(given)


def main() -> None:
    """Print one table of answers and one of the export."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    options.add_argument("--rows", type=int, default=5_000_000)
    options.add_argument("--requests", type=int, default=2_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="twap-benchmark-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder) / "postgres") as server:
            url = server.start()
            _fill(url, given.rows)
            with _serving(url) as (port, pid):
                print(
                    f"{given.rows:,} rows of events; {os.cpu_count()} cores for clients, API and PostgreSQL together\n"
                )
                print(_HEADS)
                for draw in (page, story, summary):
                    for clients in CLIENTS:
                        _compare(draw, clients, given.requests, port, url)
                _export(url, port, pid, Path(folder))


def _fill(url: str, rows: int) -> None:
    engine = make_engine(parse_database_url(url))
    upgrade(engine)
    engine.dispose()
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(FILL, {"orders": rows // 2, "wallets": WALLETS})
        connection.execute("VACUUM ANALYZE")


@contextmanager
def _serving(url: str) -> Iterator[tuple[int, int]]:
    """Serve in a process of its own; yields its port and process id."""
    port = 8123
    environment = {**os.environ, "DATABASE_URL": url, "TWAP_API_RATE_LIMIT_PER_MINUTE": "0"}
    command = [sys.executable, "-c", "from twap_pipeline.cli import main; main()", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError):
                _get(http.client.HTTPConnection("127.0.0.1", port), "/readyz")
                break
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:200]!r}")
    return body


def _compare(draw: Draw, clients: int, requests: int, port: int, url: str) -> None:
    def over_http() -> Callable[[random.Random], None]:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        return lambda chance: (_get(connection, draw(chance)[0]), None)[1]

    def over_psycopg() -> Callable[[random.Random], None]:
        connection = psycopg.connect(url, autocommit=True)
        return lambda chance: (connection.execute(*draw(chance)[1:]).fetchall(), None)[1]

    _run(over_http, clients, requests // 4)
    plain, ours = _run(over_psycopg, clients, requests), _run(over_http, clients, requests)
    ratio = ours.percentile(50) / plain.percentile(50)
    for name, took, shown in (("plain SELECT", plain, ""), (str(draw.__doc__).rstrip("."), ours, f"{ratio:.2f}")):
        figures = " ".join(f"{took.percentile(share):>8.1f}" for share in (50, 95, 99))
        print(f"{name:<34} {clients:>7} {figures} {len(took.each) / took.whole:>7.0f} {shown:>9}", flush=True)


def _run(connect: Callable[[], Callable[[random.Random], None]], clients: int, requests: int) -> Took:
    seconds: list[float] = []

    def client(number: int) -> None:
        ask, chance = connect(), random.Random(number)
        for _ in range(requests // clients):
            started = time.perf_counter()
            ask(chance)
            seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Took(seconds, time.perf_counter() - started)


def _export(url: str, port: int, pid: int, folder: Path) -> None:
    """The busiest wallet's year, by the API and by the command, each held against SQL's sums."""
    with psycopg.connect(url) as connection:
        wallet, orders, notional = connection.execute(
            "SELECT wallet, count(*), sum(notional_executed) FROM twap_orders WHERE last_status_at < '2026-01-01Z'"
            " GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
        ).fetchone() or ("", 0, Decimal())
    path = f"/api/v1/wallets/{wallet}/export.csv?start=2025-01-01&end=2026-01-01"
    started = time.perf_counter()
    body = _get(http.client.HTTPConnection("127.0.0.1", port), path)
    seconds = time.perf_counter() - started
    _print_export("export.csv by the API", body, seconds, peak_megabytes(pid), (orders, notional))
    for name in ("csv", "koinly"):
        file = folder / f"year.{name}"
        words = ["twap-pipeline", "export", "--wallet", wallet, "--start", "2025-01-01", "--end", "2026-01-01"]
        words += ["--format", name, "--output", str(file)]
        code = "\n".join((f"import sys; sys.argv = {words}", _MEASURED))
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "DATABASE_URL": url},
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
        _print_export(
            f"twap-pipeline export, {name}", file.read_bytes(), seconds, float(done.stdout), (orders, notional)
        )


def _print_export(name: str, file: bytes, seconds: float, megabytes: float, expected: tuple[int, Decimal]) -> None:
    rows = list(csv.DictReader(io.StringIO(file.decode())))
    if "notional_executed" in rows[0]:
        told = len(rows), sum(Decimal(row["notional_executed"]) for row in rows)
        verdict = "sums equal SQL's" if told == expected else f"SUMS DIFFER: {told}, SQL {expected}"
    else:
        amounts = (row["Sent Amount"] if row["Sent Currency"] == "USD" else row["Received Amount"] for row in rows)
        verdict = "sums equal SQL's" if sum(map(Decimal, amounts)) == expected[1] else "SUMS DIFFER"
    print(
        f"{name:<34} {len(rows):>9,} rows {len(file) / 1e6:>7.1f} MB {seconds:>6.1f} s,"
        f" peak {megabytes:.0f} MB, {verdict}"
    )


if __name__ == "__main__":
    main()
