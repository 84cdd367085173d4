"""What every part shares: the server, a folder, rounds in turns, and the one table that is printed."""

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

from benchmarks.subprocess_timer import Measured
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade


@dataclass(frozen=True, slots=True)
class Bench:
    """Where parts run.

    Args:
        url: A migrated database on a server of its own, default settings.
        postmaster: The server's process.
        folder: For files.
        rounds: Times that each piece of work runs.
        is_quick: Small sizes, to see that everything works.
        is_largest: The sizes that take long, too.
    """

    url: str
    postmaster: int
    folder: Path
    rounds: int
    is_quick: bool
    is_largest: bool

    def empty(self) -> None:
        """Make every table empty and the server's caches write themselves out."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("TRUNCATE twap_status, etl_s3_ingest_log, twap_status_quarantine, twap_orders")
            connection.execute("CHECKPOINT")


@contextmanager
def open_bench(rounds: int, *, is_quick: bool, is_largest: bool) -> Iterator[Bench]:
    """Yield a bench; its server and files are deleted in the end."""
    with TemporaryDirectory(prefix="twap-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder / "postgres") as server:
            url = server.start()
            engine = make_engine(parse_database_url(url))
            upgrade(engine)
            engine.dispose()
            yield Bench(url, _postmaster(url), folder, rounds, is_quick, is_largest)


def _postmaster(url: str) -> int:
    """Return the parent of a backend."""
    with psycopg.connect(url) as connection:
        stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        return int(stat.read_text().rpartition(")")[2].split()[1]) if stat.exists() else 0


def print_setting(bench: Bench) -> None:
    """Print machine, versions and settings."""
    with psycopg.connect(bench.url) as connection:
        server = connection.execute("SHOW server_version").fetchone()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("polars", "pyarrow", "psycopg", "dagster"))
    cores = len(_lines("/proc/cpuinfo", "processor")) or "?"
    model = next(iter(_lines("/proc/cpuinfo", "model name")), platform.processor())
    memory = next(iter(_lines("/proc/meminfo", "MemTotal")), "? kB")
    print(f"{cores} cores ({model}), {memory} memory, {platform.platform()}")
    print(
        f"PostgreSQL {server[0] if server else '?'}, default settings; Python {platform.python_version()}; {libraries}"
    )
    print(f"medians of {bench.rounds} rounds, taken in turns; load average before: {_load()}\n", flush=True)


def _lines(file: str, name: str) -> list[str]:
    path = Path(file)
    if not path.exists():
        return []
    return [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith(name)]


def _load() -> str:
    path = Path("/proc/loadavg")
    return path.read_text().split()[0] if path.exists() else "?"


def in_turns(rounds: int, works: Mapping[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
    """Run each piece of work once a round; a machine that gets slower slows all of them."""
    taken: dict[str, list[Measured]] = {name: [] for name in works}
    for number in range(rounds):
        for name, work in works.items():
            taken[name].append(work())
            seconds = taken[name][-1].seconds
            print(f"  round {number + 1}: {name}: {seconds:.2f} s, load {_load()}", file=sys.stderr, flush=True)
    return taken


def print_table(title: str, taken: Mapping[str, list[Measured]], limit: str) -> None:
    """Print medians; ratios are taken round by round against the limit's."""
    print(f"{title:<58} {'seconds':>8} {'x limit':>8} {'CPU s':>7} {'server':>7} {'peak MB':>8}")
    for name, measured in taken.items():
        pairs = zip(measured, taken[limit], strict=True)
        ratio = statistics.median(one.seconds / base.seconds for one, base in pairs)
        seconds, cpu, server = (
            statistics.median(getattr(one, field) for one in measured)
            for field in ("seconds", "cpu_seconds", "server_cpu_seconds")
        )
        peak = max(one.peak_megabytes for one in measured)
        print(f"{name:<58} {seconds:>8.2f} {ratio:>8.2f} {cpu:>7.2f} {server:>7.2f} {peak:>8.0f}")
    print(flush=True)
