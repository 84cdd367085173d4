"""What must hold after every fault, whatever it was, and the clean run that it is measured by.

The table's hash is that of a clean run; the ledger agrees with the listing and the rows; no session and no lock is
left behind; no more objects were read than stated; no secret stands in a table.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from sqlalchemy import URL, Connection, Engine, text

from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import IngestResult, ingest_objects
from twap_pipeline.ingest.plan import group_by_day, plan
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.audit.checksum import content_checksum
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline_tests.factories import Bucket
from twap_pipeline_tests.s3_server import AWS_SECRET, S3Server

_SETTLED_SECONDS = 10.0
_STRAYS = """
SELECT format('session %s is %s: %s', pid, state, left(query, 80)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'
UNION ALL
SELECT format('session %s holds an advisory lock', pid) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TABLES = ("etl_s3_ingest_log", "twap_status_quarantine", "twap_status")

ExpectedHash = Callable[[ObjectStore], str]
"""Tells the hash of the table after a run without faults over all objects of a store."""


@dataclass(frozen=True)
class PipelineScenario:
    """A bucket, a database, and what a clean run makes of them.

    Args:
        bucket: The objects.
        engine: The database.
        expected_hash: How the clean run is made.
    """

    bucket: Bucket
    engine: Engine
    expected_hash: ExpectedHash

    @property
    def url(self) -> URL:
        """The database's; it names no driver."""
        return self.engine.url.set(drivername="postgresql")

    @cached_property
    def store(self) -> LocalDirectory:
        """The bucket as a source."""
        return LocalDirectory(self.bucket.directory)

    def count(self, statement: str) -> int:
        """Return the one number that a query gives."""
        with self.engine.connect() as connection:
            return int(connection.execute(text(statement)).scalar_one())

    def text(self, statement: str) -> str:
        """Return the one text that a query gives."""
        with self.engine.connect() as connection:
            return str(connection.execute(text(statement)).scalar_one())

    def run(self, statement: str) -> None:
        """Run a statement and commit."""
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def run_alone(self, *statements: str) -> None:
        """Run statements outside of any transaction."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement))

    def assert_invariants(self) -> None:
        """Fail unless all that must hold after a fault holds."""
        assert_invariants(self.engine, self.store, self.expected_hash(self.store))


def ingest_everything(store: ObjectStore, engine: Engine) -> list[IngestResult]:
    """Take every object that the ledger does not hold."""
    with engine.connect() as connection:
        ledger = read_ingest_log(connection)
    done = []
    for day, refs in group_by_day(store.list_objects()).items():
        done += ingest_objects(store, engine, plan(refs, ledger).pending, day)
    return done


def digest(engine: Engine) -> str:
    """Return the table's hash."""
    with engine.connect() as connection:
        return content_checksum(connection)


def assert_invariants(
    engine: Engine, store: ObjectStore, expected_hash: str, *, s3: S3Server | None = None, gets_max: int = 0
) -> None:
    """Fail unless everything holds that must hold after a fault, once its consequences were mended.

    Args:
        engine: The database.
        store: The source, every object of which is meant to be loaded.
        expected_hash: The table's hash after a run without faults.
        s3: The server behind the store, if requests are to be counted.
        gets_max: The stated bound of GETs since the counts were cleared.
    """
    assert digest(engine) == expected_hash, "the table is not that of a clean run"
    assert [one for one in audit(engine, store.list_objects(), date.min) if not one.is_informational] == []
    with engine.connect() as connection:
        assert leaked_secrets(connection, (engine.url.password or "", AWS_SECRET)) == []
    assert_no_open_sessions(engine)
    if s3 is not None:
        assert s3.requests["GET"] <= gets_max


def assert_no_open_sessions(engine: Engine) -> None:
    """Fail if a session is still at work or holds a lock; a killed client's may take a moment to end."""
    deadline = time.monotonic() + _SETTLED_SECONDS
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while strays := list(connection.execute(text(_STRAYS)).scalars()):
            assert time.monotonic() < deadline, strays
            time.sleep(0.05)


def leaked_secrets(connection: Connection, secrets: tuple[str, ...]) -> list[str]:
    """Return which of our tables hold one of these texts."""
    return [
        f"{table} tells a secret"
        for table in _TABLES
        for secret in filter(None, secrets)
        if connection.scalar(
            text(f"SELECT EXISTS (SELECT FROM {table} AS told WHERE told::text LIKE :said)"), {"said": f"%{secret}%"}
        )
    ]
