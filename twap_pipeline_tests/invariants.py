"""The invariants that must hold after every fault, and the scenario in which they are checked.

The table equals that of a run without faults. The ingest log agrees with the listing and the rows. No session and no
lock is left. The number of GET requests is bounded. No table contains a secret.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from sqlalchemy import URL, Connection, Engine, text

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import IngestResult, ingest_objects
from twap_pipeline.ingest.plan import group_by_day, plan
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.orders.refresh import compare_orders
from twap_pipeline_tests.factories import Bucket
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.secret_scan import AWS_SECRET

_SETTLE_SECONDS = 10.0
_OPEN_SESSIONS = """
SELECT format('session %s is %s: %s', pid, state, left(query, 80)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'
UNION ALL
SELECT format('session %s has an advisory lock', pid) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TABLES = ("etl_s3_ingest_log", "etl_s3_ingest_history", "twap_status_quarantine", "twap_status")

ExpectedHash = Callable[[ObjectStore], str]
"""Returns the content checksum of the table after a run without faults over all objects of a store."""


@dataclass(frozen=True)
class PipelineScenario:
    """A bucket, a database, and the expected content of the table.

    Args:
        bucket: The objects.
        engine: The database.
        expected_hash: Performs the run without faults.
    """

    bucket: Bucket
    engine: Engine
    expected_hash: ExpectedHash

    @property
    def url(self) -> URL:
        """The database's URL, without a driver name."""
        return self.engine.url.set(drivername="postgresql")

    @cached_property
    def store(self) -> LocalDirectory:
        """The bucket as a source."""
        return LocalDirectory(self.bucket.directory)

    def count(self, statement: str) -> int:
        """Return the single number that a query returns."""
        with self.engine.connect() as connection:
            return int(connection.execute(text(statement)).scalar_one())

    def text(self, statement: str) -> str:
        """Return the single text that a query returns."""
        with self.engine.connect() as connection:
            return str(connection.execute(text(statement)).scalar_one())

    def run(self, statement: str) -> None:
        """Run a statement and commit."""
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def run_autocommit(self, *statements: str) -> None:
        """Run statements outside of a transaction."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement))

    def assert_invariants(self) -> None:
        """Fail unless the invariants hold."""
        assert_invariants(self.engine, self.store, self.expected_hash(self.store))


def ingest_everything(store: ObjectStore, engine: Engine, data_set: DataSet = TWAP_STATUS) -> list[IngestResult]:
    """Load every object that is not loaded."""
    with engine.connect() as connection:
        entries = read_ingest_log(connection, data_set=data_set)
    results = []
    for day, refs in group_by_day(store.list_objects()).items():
        results += ingest_objects(store, engine, plan(refs, entries).pending, day, data_set=data_set)
    return results


def digest(engine: Engine) -> str:
    """Return the content checksum of the table."""
    with engine.connect() as connection:
        return content_checksum(connection)


def differing_orders(connection: Connection) -> list[tuple[str, str]]:
    """Return twap_id and difference of the orders that differ from their events, by twap_id."""
    compare_orders(connection)
    rows = connection.execute(text("SELECT twap_id, difference FROM differing_orders ORDER BY twap_id"))
    return [(twap_id, difference) for twap_id, difference in rows]


def assert_invariants(
    engine: Engine, store: ObjectStore, expected_hash: str, *, s3: S3Server | None = None, gets_max: int = 0
) -> None:
    """Fail unless the invariants hold.

    Args:
        engine: The database.
        store: The source; every object must be loaded.
        expected_hash: The content checksum after a run without faults.
        s3: The server behind the store, if requests are to be counted.
        gets_max: Maximum number of GET requests since the counts were cleared.
    """
    findings = audit(engine, store.list_objects(), date.min)
    assert [(finding.code, finding.examples) for finding in findings if not finding.is_informational] == []
    assert digest(engine) == expected_hash, "the table differs from that of a run without faults"
    with engine.connect() as connection:
        assert leaked_secrets(connection, (engine.url.password or "", AWS_SECRET)) == []
    assert_no_open_sessions(engine)
    if s3 is not None:
        assert s3.requests["GET"] <= gets_max


def assert_no_open_sessions(engine: Engine) -> None:
    """Fail if a session is active or has a lock. The session of a killed client gets some seconds to end."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while sessions := list(connection.execute(text(_OPEN_SESSIONS)).scalars()):
            assert time.monotonic() < deadline, sessions
            time.sleep(0.05)


def leaked_secrets(connection: Connection, secrets: tuple[str, ...]) -> list[str]:
    """Return one message per table that contains a secret."""
    return [
        f"{table} contains a secret"
        for table in _TABLES
        for secret in filter(None, secrets)
        if connection.scalar(
            text(f"SELECT EXISTS (SELECT FROM {table} AS content WHERE content::text LIKE :pattern)"),
            {"pattern": f"%{secret}%"},
        )
    ]
