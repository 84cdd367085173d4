"""``python -m benchmarks.growth``: seconds and memory by the number of stored events and by the number of objects.

Prints a table and writes curves as SVG. Every figure is also a ratio to the smallest size, so that a bend is seen.
Sizes that the folder's ``growth.json`` contains are not measured again: a run that was interrupted continues with the
next size. Delete the file to measure all of them. The database and the objects are temporary.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine, Executable, text

from benchmarks import growth_dagster
from benchmarks import growth_workloads as workloads
from benchmarks.curves import write_curves
from benchmarks.growth_workloads import utc_midnight
from benchmarks.harness import Bench, create_database, open_bench, print_environment, url_with_password
from benchmarks.listed_store import OBJECTS_PER_DAY, GeneratedRefs, record_as_loaded
from benchmarks.subprocess_timer import Measurement, Work, measure
from twap_pipeline.api.queries.active_orders import active_orders
from twap_pipeline.api.queries.coverage import coverage
from twap_pipeline.api.queries.events import EventFilter, event_page, order_events
from twap_pipeline.api.queries.order_list import OrderFilter, order_page
from twap_pipeline.api.queries.orders import daily_stats, wallet_summary
from twap_pipeline.exports.formats import BATCH_ROWS, FORMATS
from twap_pipeline.exports.rows import select_rows
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import DATASET_START
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline_tests.large_object import write_object

_SQL = load_queries("benchmarks", "growth.sql")
_LOADED_DAYS_MAX = 10
_CALLS = 20
_SLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value.

    Args:
        axis: ``events`` or ``objects``.
        size: Number of stored events or objects.
        name: What was measured.
        seconds: Wall-clock time; of an API query, the median of `_CALLS` calls.
        peak_megabytes: Peak memory of the process; None for queries.
    """

    axis: str
    size: int
    name: str
    seconds: float
    peak_megabytes: float | None = None


def main() -> None:
    """Measure the sizes that are missing, print the table and write the curves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--events", type=_sizes, default=(100_000, 1_000_000, 10_000_000), help="numbers of events")
    parser.add_argument("--objects", type=_sizes, default=(10_000, 100_000, 1_000_000), help="numbers of objects")
    parser.add_argument("--rows-per-day", type=int, default=100_000, help="rows of the object of a day")
    parser.add_argument("--output", type=Path, default=Path("growth"), help="folder of growth.json and the curves")
    options = parser.parse_args()
    if any(size % options.rows_per_day for size in options.events) or any(n % OBJECTS_PER_DAY for n in options.objects):
        parser.error(f"--events must be multiples of --rows-per-day, --objects of {OBJECTS_PER_DAY}")
    state = options.output / "growth.json"
    figures = _read_figures(state)
    with open_bench(1, is_quick=False, is_largest=False) as bench:
        print_environment(bench)
        for axis, size in [*(("events", size) for size in options.events), *(("objects", n) for n in options.objects)]:
            if not any((figure.axis, figure.size) == (axis, size) for figure in figures):
                is_events = axis == "events"
                new = _measure_events(bench, size, options.rows_per_day) if is_events else _measure_objects(bench, size)
                figures += new
                _write_figures(state, figures)
    for axis, sizes in (("events", options.events), ("objects", options.objects)):
        shown = [figure for figure in figures if figure.axis == axis and figure.size in sizes]
        _print_table(axis, shown)
        _write_curves(options.output, axis, shown)


def _sizes(text: str) -> tuple[int, ...]:
    """Return sizes in ascending order; an empty text is none."""
    return tuple(sorted(int(size) for size in text.split(",") if size))


def _revision() -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def _read_figures(state: Path) -> list[Figure]:
    """Return the figures of this revision of the code; figures of another revision are discarded."""
    saved = json.loads(state.read_text()) if state.exists() else {}
    if saved.get("revision") != _revision():
        return []
    return [Figure(**figure) for figure in saved["figures"]]


def _write_figures(state: Path, figures: Sequence[Figure]) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    content = {"revision": _revision(), "figures": [asdict(figure) for figure in figures]}
    state.write_text(json.dumps(content, indent=1))


def _progress(message: str) -> None:
    print(f"  {datetime.now(UTC):%H:%M:%S} {message}", file=sys.stderr, flush=True)


def _measure_events(bench: Bench, size: int, rows_per_day: int) -> list[Figure]:
    """Fill a database with events and measure everything that reads or adds them."""
    days = size // rows_per_day
    with _database(bench, "events", size) as target:
        target.progress("filling the tables")
        _fill_events(target, days, rows_per_day)
        target.progress("measuring")
        new_day = DATASET_START + timedelta(days=days)
        source_url = _write_day(bench.folder / f"new-{size}", new_day, rows_per_day)
        day = new_day.isoformat()
        figures = [
            target.figure(f"ingest one more object of {rows_per_day:,} rows", workloads.load_days, source_url),
            target.figure("refresh its orders", workloads.refresh, day),
            target.figure("refresh them again", workloads.refresh, day),
            target.figure("run of one day, nothing new", growth_dagster.run_logged_day, day),
            target.figure("audit", workloads.audit_logged),
        ]
        calls = _api_calls(target.engine)
        figures += [Figure("events", size, name, _median_seconds(call)) for name, call in calls]
        with target.engine.connect() as connection:
            database_bytes = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        target.progress(f"{database_bytes / 1e9:.2f} GB")
    return figures


def _measure_objects(bench: Bench, size: int) -> list[Figure]:
    """Fill an ingest log and measure everything that lists objects or reads the log."""
    last_day = datetime.now(UTC).date()
    with _database(bench, "objects", size) as target:
        target.progress("filling the ingest log")
        record_as_loaded(target.url, GeneratedRefs(size, last_day), workloads.SOURCE_URL)
        target.run(workloads.record_generated_layouts, str(size), last_day.isoformat())
        return [
            target.figure(name, workload, str(size), last_day.isoformat())
            for name, workload in (
                ("list all objects, without S3", workloads.list_generated),
                ("plan of all objects", workloads.plan_generated),
                ("tick", growth_dagster.tick),
                ("run of one day, nothing new", growth_dagster.run_generated_day),
                ("audit", workloads.audit_generated),
            )
        ]


@contextmanager
def _database(bench: Bench, axis: str, size: int) -> Iterator["_Target"]:
    """Yield a new database of the bench's server, which is dropped at the end of the block."""
    name = f"{axis}_{size}"
    engine = create_database(bench.url, name)
    try:
        yield _Target(bench, engine, url_with_password(engine), axis, size)
    finally:
        engine.dispose()
        with psycopg.connect(bench.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True)
class _Target:
    """A database of one size."""

    bench: Bench
    engine: Engine
    url: str
    axis: str
    size: int

    def run(self, workload: Callable[..., Work], *arguments: str) -> Measurement:
        """Run a workload on the database in a child process."""
        return measure(self.bench.postmaster_pid, workload, self.url, *arguments)

    def figure(self, name: str, workload: Callable[..., Work], *arguments: str) -> Figure:
        """Run a workload and return its figure."""
        used = self.run(workload, *arguments)
        self.progress(f"{name}: {used.seconds:.2f} s, {used.peak_megabytes:.0f} MB")
        return Figure(self.axis, self.size, name, used.seconds, used.peak_megabytes)

    def progress(self, message: str) -> None:
        """Print a line to standard error."""
        _progress(f"{self.size:,} {self.axis}: {message}")


def _fill_events(target: _Target, days: int, rows_per_day: int) -> None:
    """Load the first days with the loader, copy them in SQL, and derive the orders."""
    loaded = min(days, _LOADED_DAYS_MAX)
    folder = target.bench.folder / f"days-{loaded}"
    for number in range(loaded):
        day = DATASET_START + timedelta(days=number)
        if not (folder / _key(day)).exists():
            _write_day(folder, day, rows_per_day, number)
    target.run(workloads.load_days, folder.as_uri() + "/")
    for number in range(loaded, days):
        copied = number % loaded
        values = {
            "id_offset": (number - copied) * rows_per_day,
            "time_offset": timedelta(days=number - copied),
            "day": DATASET_START + timedelta(days=number),
            "key": _key(DATASET_START + timedelta(days=number)),
            "copied_key": _key(DATASET_START + timedelta(days=copied)),
        }
        with target.engine.begin() as connection:
            for name in ("copy_events", "copy_log_entry"):
                connection.execute(text(_SQL[name]), values)
    with target.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    target.run(workloads.refresh_pending)
    with target.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))


def _key(day: date) -> str:
    return f"hourly/{day:%Y/%m/%d}/00/part-0000.parquet"


def _write_day(folder: Path, day: date, rows: int, number: int = 10**6) -> str:
    """Write the object of a day below a folder; return the folder as a source URL."""
    first_twap_id = 1_050_000 + number * rows
    write_object(folder / _key(day), rows, seed=number, day=utc_midnight(day), first_twap_id=first_twap_id)
    return folder.as_uri() + "/"


def _api_calls(engine: Engine) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the API's queries for a wallet and the last day, by name."""
    with engine.connect() as connection:
        wallet, twap_id, start, end = connection.execute(text(_SQL["select_values"])).one()
    day, month = end.date(), timedelta(days=30)
    statements: dict[str, tuple[Executable, dict[str, Any]]] = {
        "API: orders of a wallet": order_page(OrderFilter((wallet,)), sort="twap_id", after=None, limit=100),
        "API: orders of a day": order_page(OrderFilter(start=start, end=end), sort="notional", after=None, limit=100),
        "API: events of a wallet": event_page(EventFilter(wallet, start), after=None, limit=100),
        "API: events of an order": order_events(twap_id, after=None, limit=100),
        "API: summary of a wallet and day": (wallet_summary(wallet, start, end), {}),
        "API: active orders": (active_orders(None, None, limit=100), {}),
        "API: coverage of a month": (coverage(day - month, day, days_max=366), {}),
        "API: daily statistics of a day": (
            daily_stats(day, day + timedelta(days=1), None, after=None, limit=1_000),
            {},
        ),
    }

    def fetch(statement: Executable, parameters: dict[str, Any]) -> Callable[[], object]:
        def call() -> object:
            with engine.connect() as connection:
                return connection.execute(statement, parameters).all()

        return call

    for name, (statement, parameters) in statements.items():
        yield name, fetch(statement, parameters)

    def export() -> None:
        writer = FORMATS["csv"].make_writer()
        statement = select_rows("orders", wallet, start, end, market=None)
        with engine.connect().execution_options(stream_results=True, yield_per=BATCH_ROWS) as connection:
            for batch in connection.execute(statement).partitions():
                writer.rows(batch)

    yield "API: export of a wallet and day", export


def _median_seconds(call: Callable[[], object]) -> float:
    """Return the median time of warm calls; a slow call is measured three times only."""
    first = _seconds(call)
    return statistics.median(_seconds(call) for _ in range(_CALLS if first < _SLOW_SECONDS else 3))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _print_table(axis: str, figures: Sequence[Figure]) -> None:
    """Print a row per figure: seconds, peak memory, and both as ratios to the smallest size."""
    first: dict[str, Figure] = {}
    print(f"{f'by {axis}':<46} {axis:>12} {'seconds':>10} {'ratio':>8} {'peak MB':>8} {'ratio':>6}")
    for figure in sorted(figures, key=lambda figure: ([f.name for f in figures].index(figure.name), figure.size)):
        base = first.setdefault(figure.name, figure)
        memory = ""
        if figure.peak_megabytes and base.peak_megabytes:
            memory = f"{figure.peak_megabytes:>8.0f} {figure.peak_megabytes / base.peak_megabytes:>6.2f}"
        ratio = figure.seconds / base.seconds
        print(f"{figure.name:<46} {figure.size:>12,} {figure.seconds:>10.4f} {ratio:>8.2f} {memory}")
    print(flush=True)


def _write_curves(folder: Path, axis: str, figures: Sequence[Figure]) -> None:
    """Write a file per group of figures: work of the pipeline, queries; and the memory."""
    groups = {"api": "API: "}
    for group in ("work", *groups, "memory"):
        curves: dict[str, list[tuple[float, float]]] = {}
        for figure in figures:
            kind = next((name for name, prefix in groups.items() if figure.name.startswith(prefix)), "work")
            value = figure.peak_megabytes if group == "memory" else figure.seconds
            if value and kind == ("work" if group == "memory" else group):
                curves.setdefault(figure.name.removeprefix(groups.get(kind, "")), []).append((figure.size, value))
        if curves:
            y_name = "peak memory in MB" if group == "memory" else "seconds"
            path = folder / f"growth-{axis}-{group}.svg"
            write_curves(path, f"{group} by {axis}", axis, y_name, curves)
            _progress(f"wrote {path}")


if __name__ == "__main__":
    main()
