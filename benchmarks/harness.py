"""What every part shares: the temporary server, the alternating rounds and the table of ratios."""

import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from benchmarks.subprocess_timer import Measurement, Work, measure
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade


@dataclass(frozen=True, slots=True)
class Bench:
    """The environment of the parts.

    Args:
        url: A migrated database on a temporary server with default settings.
        postmaster_pid: The server's process; 0 on systems without ``/proc``.
        folder: A temporary folder.
        rounds: How often each workload runs.
        is_quick: Use small sizes, to test that everything works.
        is_largest: Also use the sizes that take long.
    """

    url: str
    postmaster_pid: int
    folder: Path
    rounds: int
    is_quick: bool
    is_largest: bool

    def measure(
        self, workload: Callable[..., Work], *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Measurement:
        """Run ``workload(url, *arguments)`` in a child process."""
        return measure(self.postmaster_pid, workload, self.url, *arguments, environment=environment)

    def measure_empty(
        self, workload: Callable[..., Work], *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Measurement:
        """Empty the tables, then `measure`."""
        self.truncate()
        return self.measure(workload, *arguments, environment=environment)

    def truncate(self) -> None:
        """Empty every table and write a checkpoint."""
        self.execute(
            "TRUNCATE twap_status, twap_status_quarantine, twap_fills, twap_fills_quarantine, twap_orders,"
            " etl_s3_ingest_log, etl_s3_ingest_history",
            "CHECKPOINT",
        )

    def vacuum(self) -> None:
        """Vacuum and analyze the tables and write a checkpoint."""
        self.execute("VACUUM ANALYZE twap_status, twap_fills, twap_orders", "CHECKPOINT")

    def execute(self, *statements: str) -> None:
        """Execute statements outside of a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def temporary_server() -> Iterator[tuple[str, Path]]:
    """Yield the URL of an empty PostgreSQL server and a temporary folder; both are deleted afterwards."""
    with TemporaryDirectory(prefix="twap-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, the server runs as another user, who must traverse the folder
        with EmbeddedPostgres(folder / "postgres") as server:
            yield server.start(), folder


def create_database(server_url: str, name: str) -> Engine:
    """Create a migrated database and return its engine."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    engine = make_engine(parse_database_url(server_url).set(database=name))
    upgrade(engine)
    return engine


def url_with_password(engine: Engine) -> str:
    """Return an engine's URL for another process; it names no driver."""
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def open_bench(rounds: int, *, is_quick: bool, is_largest: bool) -> Iterator[Bench]:
    """Yield a bench on a temporary server."""
    with temporary_server() as (server_url, folder):
        engine = create_database(server_url, "bench")
        engine.dispose()
        url = url_with_password(engine)
        yield Bench(url, postmaster_pid(url), folder, rounds, is_quick, is_largest)


def postmaster_pid(url: str) -> int:
    """Return the parent process of a backend."""
    with psycopg.connect(url) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        return int(stat.read_text().rpartition(")")[2].split()[1]) if stat.exists() else 0


def print_environment(bench: Bench) -> None:
    """Print the machine, the versions and the number of rounds."""
    with psycopg.connect(bench.url) as connection:
        server_version = connection.info.parameter_status("server_version")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("polars", "pyarrow", "psycopg", "dagster"))
    cores = len(_values("/proc/cpuinfo", "processor")) or "?"
    model = next(iter(_values("/proc/cpuinfo", "model name")), platform.processor())
    memory = next(iter(_values("/proc/meminfo", "MemTotal")), "? kB")
    print(f"{cores} cores ({model}), {memory} memory, {platform.platform()}")
    print(f"PostgreSQL {server_version}, default settings; Python {platform.python_version()}; {libraries}")
    print(f"medians of {bench.rounds} alternating rounds; load average before: {load_average()}\n", flush=True)


def _values(file: str, name: str) -> list[str]:
    path = Path(file)
    if not path.exists():
        return []
    return [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith(name)]


def load_average() -> str:
    """Return the load average of the last minute; "?" on systems without ``/proc``."""
    path = Path("/proc/loadavg")
    return path.read_text().split()[0] if path.exists() else "?"


def run_rounds(rounds: int, runs: Mapping[str, Callable[[], Measurement]]) -> dict[str, list[Measurement]]:
    """Return the measurements by name. Each round runs every entry once, so that changes of load affect all of them."""
    results: dict[str, list[Measurement]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, run in runs.items():
            measurement = run()
            results[name].append(measurement)
            print(
                f"  round {number}: {name}: {measurement.seconds:.2f} s, load {load_average()}",
                file=sys.stderr,
                flush=True,
            )
    return results


def print_table(title: str, results: Mapping[str, list[Measurement]], limit: str) -> None:
    """Print medians. A ratio is the median of the ratios per round to the entry named ``limit``."""
    print(f"{title:<58} {'seconds':>8} {'x limit':>8} {'CPU s':>7} {'server':>7} {'peak MB':>8}")
    for name, measurements in results.items():
        pairs = zip(measurements, results[limit], strict=True)
        ratio = statistics.median(measured.seconds / base.seconds for measured, base in pairs)
        seconds = statistics.median(measured.seconds for measured in measurements)
        cpu = statistics.median(measured.cpu_seconds for measured in measurements)
        server = statistics.median(measured.server_cpu_seconds for measured in measurements)
        peak = max(measured.peak_megabytes for measured in measurements)
        print(f"{name:<58} {seconds:>8.2f} {ratio:>8.2f} {cpu:>7.2f} {server:>7.2f} {peak:>8.0f}")
    print(flush=True)
