"""``python -m benchmarks.scale_out``: measures a backfill by one, two and three Celery workers, and with lost workers.

Seconds are from the start of the first run to the end of the last one; with lost workers, until all objects are loaded.
All processes share the cores of this machine: the column of the CPU shows what bounds the speed. With several machines,
only the database and the source are shared. Needs ``redis-server``.
"""

import argparse
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from benchmarks.backfill_runs import run_times
from benchmarks.harness import create_database, load_average, postmaster_pid, temporary_server, url_with_password
from benchmarks.s3_process import BUCKET, s3_process
from benchmarks.subprocess_timer import server_cpu_seconds
from benchmarks.workloads import write_objects
from twap_pipeline.defs.event_log import BACKFILL_ID_TAG
from twap_pipeline.defs.lost_runs import LOST_TAG
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.plan import group_by_day
from twap_pipeline.source.base import open_store
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline_tests.celery_cluster import MISSING, Cluster, celery_cluster
from twap_pipeline_tests.dagster_client import until

_ASSETS = ("twap_status", "twap_orders", "twap_daily_stats")
_FIRST_DAY = date(2025, 8, 17)
_TIMEOUT_SECONDS = 3600.0


def main() -> None:
    """Print a table: workers, seconds, runs per worker, CPU, and whether the tables equal a load by one process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_out", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--days", type=int, default=80)
    parser.add_argument("--objects-per-day", type=int, default=12)
    parser.add_argument("--rows-per-object", type=int, default=600)
    parser.add_argument("--days-per-run", type=int, default=5)
    parser.add_argument("--latency-ms", type=int, default=40)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the processes of the cluster, too
    if MISSING:
        raise SystemExit(f"error: {MISSING}")
    days = [_FIRST_DAY + timedelta(days=number) for number in range(options.days)]
    with temporary_server() as (server_url, folder):
        objects = folder / "objects"
        write_objects(objects / "raw", days, options.objects_per_day, options.rows_per_object)
        with s3_process(objects, options.latency_ms) as endpoint:
            environment = {
                **endpoint,
                "TWAP_SOURCE_URL": f"s3://{BUCKET}/raw/",
                "TWAP_ALLOW_INSECURE_ENDPOINT": "true",
                "TWAP_START_DATE": str(_FIRST_DAY),
                "TWAP_MAX_PARTITIONS_PER_RUN": str(options.days_per_run),
                "TWAP_SENSOR_INTERVAL_SECONDS": "10",
            }
            os.environ.update(environment)
            expected = _load_in_this_process(create_database(server_url, "single"), environment["TWAP_SOURCE_URL"])
            print(f"{options.days} days, {options.days * options.objects_per_day} objects, load {load_average()}")
            print("| round | seconds | runs per worker | database CPU, s | failed runs | equal |")
            print("|---|---|---|---|---|---|", flush=True)
            rounds = [*((count, False) for count in options.workers), (max(options.workers), True)]
            for number, (workers, is_killed) in enumerate(rounds):
                bench = _Round(server_url, folder / f"round{number}", environment, days, workers)
                print(bench.run(f"round{number}", expected, is_killed=is_killed), flush=True)


class _Round:
    """One backfill by a new cluster into a new database."""

    def __init__(
        self, server_url: str, folder: Path, environment: dict[str, str], days: Sequence[date], workers: int
    ) -> None:
        self._server_url, self._folder, self._environment = server_url, folder, environment
        self._days, self._workers = days, workers
        folder.mkdir()

    def run(self, name: str, expected: str, *, is_killed: bool) -> str:
        """Return the row of the table."""
        engine = create_database(self._server_url, name)
        storage = parse_database_url(self._server_url).set(database=f"{name}_dagster")
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"{name}_dagster")))
        postmaster = postmaster_pid(url_with_password(engine))
        with celery_cluster(self._folder, engine.url, storage, self._environment, self._workers) as cluster:
            before, started = server_cpu_seconds(postmaster), time.perf_counter()
            backfill_id = cluster.web.launch_backfill(_ASSETS, [day.isoformat() for day in self._days])
            lost_seconds = ""
            if is_killed:
                lost_seconds = f" after {self._lose_workers(cluster, backfill_id):.0f} s"
                until(lambda: len(_loaded(engine)) == self._objects(), _TIMEOUT_SECONDS, "all objects are loaded")
            else:
                until(lambda: cluster.web.backfill_final_status(backfill_id), _TIMEOUT_SECONDS, "the backfill ends")
            seconds = time.perf_counter() - started
            if not is_killed:
                starts, ends = zip(*run_times(cluster.web, backfill_id), strict=True)
                seconds = max(ends) - min(starts)
            cpu_seconds = server_cpu_seconds(postmaster) - before
            ended = "/".join(str(worker.runs_ended()) for worker in cluster.workers)
            failed = Counter(
                f"lost{lost_seconds}" if LOST_TAG in run.tags else "failed"
                for run in cluster.runs()
                if run.status == "FAILURE"
            )
        with engine.connect() as connection:
            is_equal = content_checksum(connection) == expected
        engine.dispose()
        label = f"{self._workers} workers{', of which one is killed, one lost, one stopped' if is_killed else ''}"
        failures = ", ".join(f"{count} {kind}" for kind, count in failed.items()) or "0"
        return f"| {label} | {seconds:.0f} | {ended} | {cpu_seconds:.0f} | {failures} | {is_equal} |"

    def _objects(self) -> int:
        store = open_store(self._environment["TWAP_SOURCE_URL"], allow_insecure_endpoint=True)
        return len(list(store.list_objects()))

    @staticmethod
    def _lose_workers(cluster: Cluster, backfill_id: str) -> float:
        """Kill a pool process, a whole worker, and stop a third one, while each executes a run of the backfill.

        Returns:
            Seconds until ``lost_runs`` has ended the run of the killed worker.
        """

        def working() -> bool:
            runs = [run for run in cluster.runs() if run.tags.get(BACKFILL_ID_TAG) == backfill_id]
            return Counter(run.status for run in runs)["STARTED"] == len(cluster.workers)

        until(working, _TIMEOUT_SECONDS, "each worker executes a run")
        killed, lost, stopped = cluster.workers
        killed.kill_pool_process()
        lost.kill_machine()
        threading.Thread(target=stopped.stop, args=(_TIMEOUT_SECONDS,), daemon=True).start()
        killed_at = time.perf_counter()
        cluster.web.start_sensor("new_twap_objects")
        until(lambda: any(LOST_TAG in run.tags for run in cluster.runs()), _TIMEOUT_SECONDS, "the lost run has ended")
        return time.perf_counter() - killed_at


def _loaded(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [key for key, entry in read_ingest_log(connection).items() if entry.error_text is None]


def _load_in_this_process(engine: Engine, source_url: str) -> str:
    """Load every object without Dagster and return the content checksum."""
    store = open_store(source_url, allow_insecure_endpoint=True)
    for day, refs in group_by_day(store.list_objects()).items():
        ingest_objects(store, engine, refs, day)
    with engine.connect() as connection:
        checksum = content_checksum(connection)
    engine.dispose()
    return checksum


if __name__ == "__main__":
    main()
