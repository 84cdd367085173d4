"""``python -m benchmarks.soak --minutes N --seed S``: sensor and backfills at once, under faults, against a clean run.

Exit status 0 tells that nothing was lost, doubled or left behind.
"""

import argparse
import logging
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
from sqlalchemy import Engine, text

from benchmarks.soak.faults import StoreFaults, end_a_backend, kill_a_worker
from benchmarks.soak.simulated_bucket import BUCKET, FIRST, PREFIX, World
from benchmarks.soak.verify import clean_run, gets_max, verdict
from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.orders.refresh import dates_pending_refresh
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.dagster_client import DagsterWeb, checkout, dagster_dev, until
from twap_pipeline_tests.s3_server import s3_server

_SECONDS_BETWEEN = {"worker killed": 12.0, "backend ended": 4.0, "backfill": 40.0}
_SETTLED_SECONDS = 900.0
_ACCESS = {"AWS_ACCESS_KEY_ID": "soak", "AWS_SECRET_ACCESS_KEY": "soak", "AWS_REGION": "us-east-1"}
_RUNS = "query { runsOrError(limit: 100000) { ... on Runs { results { status } } } }"


@dataclass(slots=True)
class Soak:
    """The running soak.

    Args:
        world: What the bucket holds.
        web: Dagster.
        engine: The database.
        admin: A session of the soak's own in it.
        told: What was done, by kind.
    """

    world: World
    web: DagsterWeb
    engine: Engine
    admin: "psycopg.Connection[tuple[object, ...]]"
    told: Counter[str] = field(default_factory=Counter)

    @property
    def days(self) -> list[str]:
        """The partitions."""
        return [str(FIRST + timedelta(days=number)) for number in range(self.world.days)]

    def held(self) -> dict[str, str]:
        """Return key → ETag of what the ledger holds."""
        with self.engine.connect() as connection:
            ledger = read_ingest_log(connection)
        return {key: str(entry.etag) for key, entry in ledger.items() if entry.error_text is None}

    def backfill(self) -> bool:
        """Ask for all days by one backfill."""
        self.web.launch_backfill(["twap_status"], self.days)
        return True

    def inject_faults(self, minutes: float, per_second: float, seed: int) -> None:
        """Let objects arrive and things go wrong for so long."""
        drawn = random.Random(seed)
        actions: dict[str, Callable[[], bool]] = {
            "worker killed": lambda: kill_a_worker(self.web.session, drawn),
            "backend ended": lambda: end_a_backend(self.admin, drawn),
            "backfill": self.backfill,
        }
        started = time.monotonic()
        due = dict.fromkeys(actions, started + 5.0)
        steps = 0
        while (now := time.monotonic()) < started + 60 * minutes:
            if steps < (now - started) * per_second:
                self.world.step(self.held)
                steps += 1
            for name, deed in actions.items():
                if now >= due[name] and deed():
                    self.told[name] += 1
                    due[name] = now + drawn.uniform(0.5, 1.5) * _SECONDS_BETWEEN[name]
            time.sleep(0.01)

    def wait_until_idle(self) -> float:
        """Mend what is poisoned, wait until all is taken, and return the seconds that it took."""
        started = time.monotonic()
        self.world.mend_all()
        self.backfill()
        until(lambda: self.held() == self.world.present(), _SETTLED_SECONDS, "every object is taken")
        until(self._orders_follow, _SETTLED_SECONDS, "the orders follow")
        return time.monotonic() - started

    def _orders_follow(self) -> bool:
        with self.engine.connect() as connection:
            return not dates_pending_refresh(connection)


def main() -> None:
    """Run the soak and print what was injected and what came of it."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--days", type=int, default=5)
    options.add_argument("--objects-per-second", type=float, default=8)
    given = options.parse_args()
    os.environ.update(_ACCESS)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="twap-soak-") as name,
        EmbeddedPostgres(_opened(Path(name)) / "postgres") as server,
        s3_server() as s3,
    ):
        url = server.start()
        engine, clean = _database(url, "soak"), _database(url, "clean")
        faults = StoreFaults(given.seed)
        s3.faults.append(faults)
        world = World(s3, given.days, given.seed)
        environment = {
            "DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "TWAP_SOURCE_URL": f"s3://{BUCKET}/{PREFIX}",
            "TWAP_ALLOW_INSECURE_ENDPOINT": "true",
            "AWS_ENDPOINT_URL": s3.url,
            "TWAP_START_DATE": str(FIRST),
            "TWAP_SENSOR_INTERVAL_SECONDS": "5",
            "TWAP_MAX_PARTITIONS_PER_RUN": "2",
        }
        plain = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with dagster_dev(_checkout(Path(name)), environment) as web, closing(_session(plain)) as admin:
            soak = Soak(world, web, engine, admin)
            for sensor in ("new_twap_objects", "stale_twap_orders"):
                web.start_sensor(sensor)
            soak.inject_faults(given.minutes, given.objects_per_second, given.seed)
            settled = soak.wait_until_idle()
            runs = Counter(run["status"] for run in web.ask(_RUNS)["runsOrError"]["results"])
        clean_run(world, clean)
        wrong = verdict(world, engine, clean, faults, soak.told)
        _tell(soak, faults, runs, settled)
        engine.dispose()
        clean.dispose()
    print("\n".join(["", *wrong]) if wrong else "\nnothing lost, nothing doubled, nothing left behind")
    raise SystemExit(1 if wrong else 0)


def _opened(folder: Path) -> Path:
    folder.chmod(0o711)
    return folder


def _checkout(folder: Path) -> Path:
    """Make a checkout whose Dagster looks every few seconds whether its workers live."""
    made = checkout(folder / "checkout")
    config = made / "dagster.yaml"
    config.write_text(config.read_text().replace("run_monitoring:\n", "run_monitoring:\n  poll_interval_seconds: 5\n"))
    return made


def _database(url: str, name: str) -> Engine:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    engine = make_engine(parse_database_url(url).set(database=name))
    upgrade(engine)
    return engine


def _session(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(url, autocommit=True, application_name="soak")


def _tell(soak: Soak, faults: StoreFaults, runs: Counter[str], settled: float) -> None:
    world = soak.world
    with soak.engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one()
        digest = content_checksum(connection)
    versions = len(world.versions)
    lines: dict[str, object] = {
        "days": world.days,
        "objects": len(world.present()),
        "readable versions": versions,
        "rows in them": sum(version.rows for version in world.versions),
        "rows in the table": rows,
        **{f"injected: {kind}": count for kind, count in sorted(world.told.items()) if kind != "objects"},
        **{f"injected: {kind}": count for kind, count in sorted(faults.injected.items())},
        **{f"injected: {kind}": count for kind, count in sorted(soak.told.items()) if kind != "backfill"},
        "backfills": soak.told["backfill"] + 1,
        **{f"runs: {status}": count for status, count in sorted(runs.items())},
        **{f"requests: {kind}": count for kind, count in sorted(faults.requests.items())},
        "GETs a version": f"{faults.requests['GET'] / versions:.2f}",
        "GETs at limit": gets_max(world, faults, soak.told),
        "seconds until all was taken": f"{settled:.0f}",
        "table hash": digest,
    }
    for name, value in lines.items():
        print(f"{name:<32} {value:>12}" if isinstance(value, int) else f"{name:<32} {value}")


if __name__ == "__main__":
    main()
