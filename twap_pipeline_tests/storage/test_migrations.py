"""The revision gate, the locked upgrade, and migrations that meet long transactions."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.errors import DatabaseUnavailableError, SchemaRevisionError
from twap_pipeline.failpoints import activate_failpoint
from twap_pipeline.ingest.load import IngestResult
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline.storage.reports.ingest_summary import day_reports
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline.storage.schema.migration_lock import migration_lock
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.revision_gate import read_revision, require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.factories import event
from twap_pipeline_tests.invariants import PipelineScenario, ingest_everything
from twap_pipeline_tests.storage.catalog import connected, describe, execute, recorded, upgrade_to
from twap_pipeline_tests.storage.deployer import Deployer
from twap_pipeline_tests.storage.migrate_process import DEADLINE_SECONDS, HEAD, REVISIONS, copy_migrations

NEXT = "900"
NEXT_REVISION = f'''"""A later release: a column of the ingest log, and an index built concurrently."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.add_column("etl_s3_ingest_log", sa.Column("added_later", sa.Text))
    with op.get_context().autocommit_block():
        op.drop_index("added_later_idx", "twap_status", if_exists=True, postgresql_concurrently=True)
        op.create_index("added_later_idx", "twap_status", ["status"], postgresql_concurrently=True)
'''


@pytest.mark.fault("R6")
def test_require_head_returns_revision_at_head(engine: Engine) -> None:
    revision = require_head(engine)

    assert (revision.current, revision.head, revision.at_head) == ((HEAD,), HEAD, True)


@pytest.mark.fault("R6")
def test_require_head_refuses_empty_database(empty_database: URL) -> None:
    with connected(empty_database) as engine, pytest.raises(SchemaRevisionError) as refused:
        require_head(engine)

    assert str(refused.value) == (
        f"the database has no recorded revision, this code needs {HEAD}: run `twap-pipeline migrate`"
    )


@pytest.mark.fault("R6")
def test_require_head_refuses_older_database(database: URL, engine: Engine) -> None:
    execute(database, f"UPDATE {ALEMBIC_VERSION_TABLE} SET version_num = '001'")

    with pytest.raises(SchemaRevisionError) as refused:
        require_head(engine)

    assert str(refused.value) == f"the database is at 001, this code needs {HEAD}: run `twap-pipeline migrate`"


def set_revision(url: URL, revision: str) -> None:
    """Record a revision that only its own code can read."""
    execute(url, f"UPDATE {ALEMBIC_VERSION_TABLE} SET version_num = '{revision}'")
    execute(url, f"COMMENT ON TABLE {ALEMBIC_VERSION_TABLE} IS '{revision}'")


@pytest.mark.fault("R6")
def test_require_head_refuses_newer_database(database: URL, engine: Engine) -> None:
    set_revision(database, "999")

    with pytest.raises(SchemaRevisionError) as refused:
        require_head(engine)

    assert f"is at 999, which this code (head {HEAD}) does not contain" in str(refused.value)
    assert f"`alembic downgrade {HEAD}`" in str(refused.value)


@pytest.mark.fault("R6")
def test_upgrade_refuses_newer_database_without_changes(database: URL, engine: Engine) -> None:
    set_revision(database, "999")
    before = describe(database)

    with pytest.raises(SchemaRevisionError, match="999"):
        upgrade(engine)

    assert (recorded(database), describe(database)) == (["999"], before)


def test_read_revision_creates_no_table(empty_database: URL) -> None:
    with connected(empty_database) as engine, engine.begin() as connection:
        assert read_revision(connection).current == ()

    assert describe(empty_database) == []


@pytest.mark.parametrize("start_at", ["base", "001", REVISIONS[-2]])
def test_upgrade_from_any_revision_is_idempotent(empty_database: URL, start_at: str) -> None:
    if start_at != "base":
        upgrade_to(empty_database, start_at)
    with connected(empty_database) as engine:
        assert upgrade(engine).at_head
        before = describe(empty_database)
        assert upgrade(engine).at_head

    assert (recorded(empty_database), describe(empty_database)) == ([HEAD], before)


def test_upgrade_refuses_tables_without_revision(empty_database: URL) -> None:
    execute(empty_database, "CREATE TABLE twap_status (twap_id TEXT)")

    with (
        connected(empty_database) as engine,
        pytest.raises(SchemaRevisionError, match=r"has twap_status but records no revision.*alembic stamp 001"),
    ):
        upgrade(engine)


@pytest.mark.fault("M1")
def test_upgrade_fails_at_lock_deadline(database: URL, engine: Engine) -> None:
    with migration_lock(engine), connected(database) as other:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match=r"held the migration lock for 0\.5 seconds"):
            upgrade(other, deadline_seconds=0.5)
        assert 0.5 <= time.monotonic() - started < 3


@pytest.mark.fault("M1")
def test_migration_lock_is_released_after_success_and_failure(database: URL, engine: Engine) -> None:
    upgrade(engine)
    set_revision(database, "999")
    with pytest.raises(SchemaRevisionError):
        upgrade(engine)

    with connected(database) as other, migration_lock(other, deadline_seconds=0):
        pass


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Migrations with one more, additive revision."""
    migrations = copy_migrations(tmp_path)
    (migrations / "alembic" / "versions" / f"{NEXT}_later.py").write_text(NEXT_REVISION, "utf-8")
    return migrations


def migrate(scenario: PipelineScenario, migrations: Path) -> tuple[int | None, str]:
    """Run a deployer to its end; return its exit status and message."""
    deployer = Deployer(scenario.url, migrations)
    deployer.wait(DEADLINE_SECONDS)
    return deployer.end()


@pytest.mark.fault("M3")
def test_migration_times_out_during_long_ingest(scenario: PipelineScenario, later: Path) -> None:
    half_way, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        half_way.set()
        assert go_on.wait(DEADLINE_SECONDS)

    with activate_failpoint("mid-copy", hold), ThreadPoolExecutor(1) as thread:
        ingest = thread.submit(ingest_everything, scenario.store, scenario.engine)
        assert half_way.wait(DEADLINE_SECONDS)
        status, message = migrate(scenario, later)
        go_on.set()
        done = ingest.result(DEADLINE_SECONDS)

    assert status == 1
    assert "a migration waited 5 seconds (lock_timeout) for a lock that a run or a query holds" in message
    assert "ALTER TABLE etl_s3_ingest_log ADD COLUMN" in message
    assert [result.error for result in done] == [None, None]
    scenario.assert_invariants()
    assert migrate(scenario, later) == (0, f"at head {NEXT}")
    assert recorded(scenario.url) == [NEXT]


@pytest.mark.fault("M7")
def test_additive_migration_runs_during_loads_and_reads(scenario: PipelineScenario, later: Path) -> None:
    for number in range(20):
        scenario.bucket.put(f"more/{number}.parquet", [event(twap_id) for twap_id in range(600 + number, 700 + number)])
    migrated = threading.Event()
    reads = [0]

    def read() -> None:
        while not migrated.is_set():
            with scenario.engine.connect() as connection:
                read_ingest_log(connection)
                day_reports(connection, data_set=TWAP_STATUS)
                order_history(connection, "600")
            reads[0] += 1

    def load() -> list[IngestResult]:
        done = ingest_everything(scenario.store, scenario.engine)
        while not migrated.is_set():
            scenario.bucket.put("again.parquet", [event(len(done))], hours=len(done))
            done += ingest_everything(scenario.store, scenario.engine)
        return done

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        loader = threads.submit(load)
        try:
            until(lambda: migrate(scenario, later)[0] == 0, DEADLINE_SECONDS, "the migration gets its locks")
        finally:
            migrated.set()
        for reader in readers:
            reader.result(DEADLINE_SECONDS)
        done = loader.result(DEADLINE_SECONDS)

    assert reads[0] > 0
    assert [result.error for result in done if result.error] == []
    assert recorded(scenario.url) == [NEXT]
    scenario.assert_invariants()
