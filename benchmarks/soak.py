"""``python -m benchmarks.soak``: runs the sensors and backfills of a real ``dagster dev`` while faults are injected.

Afterwards the tables are compared with a run without faults. The exit status is 0 if no row was lost or duplicated and
no session or lock was left.
"""

import argparse
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
from sqlalchemy import Engine, text

from benchmarks.harness import create_database, temporary_server, url_with_password
from benchmarks.s3_process import CREDENTIALS
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.orders.refresh import dates_pending_refresh
from twap_pipeline_tests.dagster_client import DagsterWeb, checkout, dagster_dev, until
from twap_pipeline_tests.s3_server import s3_server
from twap_pipeline_tests.soak.faults import StoreFaults, kill_worker, terminate_backend
from twap_pipeline_tests.soak.simulated_bucket import BUCKET, FIRST_DAY, PREFIX, SimulatedBucket
from twap_pipeline_tests.soak.verify import find_problems, load_without_faults, max_gets

_MEAN_SECONDS_BETWEEN_ACTIONS = {"workers killed": 12.0, "backends terminated": 4.0, "backfills": 40.0}
_IDLE_TIMEOUT_SECONDS = 900.0
_RUNS_QUERY = "query { runsOrError(limit: 100000) { ... on Runs { results { status } } } }"


@dataclass(slots=True)
class Soak:
    """A running soak.

    Args:
        bucket: The source.
        web: The web server of ``dagster dev``.
        engine: The database that Dagster's runs load.
        admin: A connection to this database that is not one of the pipeline's.
        action_counts: Number of actions by kind.
    """

    bucket: SimulatedBucket
    web: DagsterWeb
    engine: Engine
    admin: "psycopg.Connection[tuple[object, ...]]"
    action_counts: Counter[str] = field(default_factory=Counter)

    def inject_faults(self, minutes: float, changes_per_second: float, seed: int) -> None:
        """Change the bucket, kill workers, terminate backends and launch backfills for a number of minutes."""
        rng = random.Random(seed)
        actions: dict[str, Callable[[], bool]] = {
            "workers killed": lambda: kill_worker(self.web.session, rng),
            "backends terminated": lambda: terminate_backend(self.admin, rng),
            "backfills": self.launch_backfill,
        }
        started = time.monotonic()
        next_times = dict.fromkeys(actions, started + 5.0)
        changes = 0
        while (now := time.monotonic()) < started + 60 * minutes:
            if changes < (now - started) * changes_per_second:
                self.bucket.step(self.ingested_etags)
                changes += 1
            for name, action in actions.items():
                if now >= next_times[name] and action():
                    self.action_counts[name] += 1
                    next_times[name] = now + rng.uniform(0.5, 1.5) * _MEAN_SECONDS_BETWEEN_ACTIONS[name]
            time.sleep(0.01)

    def wait_until_idle(self) -> float:
        """Repair the bucket, launch a backfill, wait until everything is loaded, and return the seconds."""
        started = time.monotonic()
        self.bucket.repair_all()
        self.action_counts["backfills"] += self.launch_backfill()
        until(
            lambda: self.ingested_etags() == self.bucket.current_etags(),
            _IDLE_TIMEOUT_SECONDS,
            "every object is loaded",
        )
        until(self._orders_are_refreshed, _IDLE_TIMEOUT_SECONDS, "the orders are refreshed")
        return time.monotonic() - started

    def launch_backfill(self) -> bool:
        """Launch a backfill of all days; return True."""
        days = [str(FIRST_DAY + timedelta(days=number)) for number in range(self.bucket.days)]
        self.web.launch_backfill(["twap_status"], days)
        return True

    def ingested_etags(self) -> dict[str, str]:
        """Return the ETag by key of the objects that the ingest log records as loaded."""
        with self.engine.connect() as connection:
            ingest_log = read_ingest_log(connection)
        return {key: str(entry.etag) for key, entry in ingest_log.items() if entry.error_text is None}

    def _orders_are_refreshed(self) -> bool:
        with self.engine.connect() as connection:
            return not dates_pending_refresh(connection)


def main() -> None:
    """Run the soak, verify it, and print the counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--changes-per-second", type=float, default=8, help="changes of the bucket")
    options = parser.parse_args()
    os.environ |= CREDENTIALS
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with temporary_server() as (server_url, folder), s3_server() as s3:
        engine, expected = create_database(server_url, "soak"), create_database(server_url, "without_faults")
        faults = StoreFaults(options.seed)
        s3.faults.append(faults)
        bucket = SimulatedBucket(s3, options.days, options.seed)
        environment = {
            "DATABASE_URL": url_with_password(engine),
            "TWAP_SOURCE_URL": f"s3://{BUCKET}/{PREFIX}",
            "TWAP_ALLOW_INSECURE_ENDPOINT": "true",
            "AWS_ENDPOINT_URL": s3.url,
            "TWAP_START_DATE": str(FIRST_DAY),
            "TWAP_SENSOR_INTERVAL_SECONDS": "5",
            "TWAP_MAX_PARTITIONS_PER_RUN": "2",
        }
        with (
            dagster_dev(_make_checkout(folder), environment) as web,
            psycopg.connect(environment["DATABASE_URL"], autocommit=True, application_name="soak") as admin,
        ):
            soak = Soak(bucket, web, engine, admin)
            for sensor in ("new_twap_objects", "stale_twap_orders"):
                web.start_sensor(sensor)
            soak.inject_faults(options.minutes, options.changes_per_second, options.seed)
            idle_seconds = soak.wait_until_idle()
            runs = Counter(run["status"] for run in web.query(_RUNS_QUERY)["runsOrError"]["results"])
        load_without_faults(bucket, expected)
        problems = find_problems(bucket, engine, expected, faults, soak.action_counts)
        _print_counts(soak, faults, runs, idle_seconds)
        engine.dispose()
        expected.dispose()
    print("\n" + ("\n".join(problems) or "no row lost, no row duplicated, no session or lock left"))
    raise SystemExit(1 if problems else 0)


def _make_checkout(folder: Path) -> Path:
    """Make a checkout whose Dagster checks every 5 seconds for killed workers."""
    made = checkout(folder / "checkout")
    config = made / "dagster.yaml"
    config.write_text(config.read_text().replace("run_monitoring:\n", "run_monitoring:\n  poll_interval_seconds: 5\n"))
    return made


def _print_counts(soak: Soak, faults: StoreFaults, runs: Counter[str], idle_seconds: float) -> None:
    bucket = soak.bucket
    with soak.engine.connect() as connection:
        stored_rows = connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one()
        checksum = content_checksum(connection)
    lines: dict[str, object] = {
        "days": bucket.days,
        "objects": len(bucket.current_etags()),
        "readable versions": len(bucket.versions),
        "rows in them": sum(version.rows for version in bucket.versions),
        "rows in twap_status": stored_rows,
        **dict(sorted(bucket.change_counts.items())),
        **{f"injected: {kind}": count for kind, count in sorted(faults.injected.items())},
        **dict(sorted(soak.action_counts.items())),
        **{f"runs: {status}": count for status, count in sorted(runs.items())},
        **{f"requests: {kind}": count for kind, count in sorted(faults.requests.items())},
        "GET requests per version": f"{faults.requests['GET'] / len(bucket.versions):.2f}",
        "GET requests at most": max_gets(bucket, faults, soak.action_counts),
        "seconds until idle": f"{idle_seconds:.0f}",
        "content checksum": checksum,
    }
    for name, value in lines.items():
        print(f"{name:<32} {value:>12}" if isinstance(value, int) else f"{name:<32} {value}")


if __name__ == "__main__":
    main()
