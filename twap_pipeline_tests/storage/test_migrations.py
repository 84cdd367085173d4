"""The revision gate, concurrent deployers, and downgrades that would destroy rows."""

import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from sqlalchemy import URL, Engine

from twap_pipeline.errors import DatabaseUnavailableError, SchemaRevisionError
from twap_pipeline.paths import ROOT
from twap_pipeline.storage.schema.locks import migration_lock
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata
from twap_pipeline.storage.schema.revision_gate import read_revision, require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.embedded.client_process import await_true
from twap_pipeline_tests.storage.catalog import (
    connected,
    describe,
    described_tables,
    downgrade_to,
    execute,
    in_clear,
    recorded,
    upgrade_to,
)
from twap_pipeline_tests.storage.migrate_process import (
    BIN,
    DEADLINE_SECONDS,
    HEAD,
    MIGRATE,
    REVISIONS,
    alembic,
    change_code,
    count_sessions,
    refused_by_alembic,
    start,
)

ALLOW_DATA_LOSS = ("-x", "allow-data-loss=yes")

ALEMBIC_UPGRADE = (BIN / "alembic", "upgrade", "head")
GATED = "900"
GATED_REVISION = f'''"""An index built concurrently, once the file `go` exists."""

import time
from pathlib import Path

from alembic import op

revision = "{GATED}"
down_revision = "{HEAD}"


def upgrade() -> None:
    deadline = time.monotonic() + {DEADLINE_SECONDS}
    while not Path(__file__).with_name("go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("no file go")
        time.sleep(0.02)
    with op.get_context().autocommit_block():
        op.create_index("twap_status_status_idx", "twap_status", ["status"], postgresql_concurrently=True)
'''

POLLED = "pg_try_advisory_xact_lock(x'74776170'::int), "
BLOCKING = "pg_advisory_xact_lock(x'74776170'::int) IS NOT NULL, "
GIVEN = 'config.attributes["connection"] = connection'
READ_FIRST = GIVEN + "; read_revision(connection)"


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
    downgrade_to(database, "001")

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


@pytest.mark.parametrize("start_at", ["base", *REVISIONS[:-1]])
def test_upgrade_from_any_revision_is_idempotent(empty_database: URL, start_at: str) -> None:
    if start_at != "base":
        upgrade_to(empty_database, start_at)
    with connected(empty_database) as engine:
        assert upgrade(engine).at_head
    before = describe(empty_database)
    with connected(empty_database) as engine:
        assert upgrade(engine).at_head

    assert (recorded(empty_database), describe(empty_database)) == ([HEAD], before)


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


@dataclass(frozen=True)
class Deployment:
    """Results of concurrent deployers; the exit status of a killed deployer is negative."""

    statuses: list[int]
    revisions: list[str]
    output: str

    def assert_good(self, head: str) -> None:
        assert self.statuses == [0, 0], self.output
        assert self.revisions == [head], self.output


@pytest.fixture
def gated_code(code: Path) -> Path:
    """A copy of the code with a further revision, which waits for the file `go`, then builds an index concurrently."""
    (code / "alembic" / "versions" / f"{GATED}_concurrently.py").write_text(GATED_REVISION, "utf-8")
    return code


def await_deployers_at_the_lock(url: URL, number: int) -> None:
    at_the_lock: LiteralString = "query LIKE '%%advisory%%'"
    assert await_true(lambda: count_sessions(url, at_the_lock) == number, DEADLINE_SECONDS)


def deploy_twice(
    url: URL,
    code: Path,
    command: Sequence[str | Path] = MIGRATE,
    *,
    gated: bool = True,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Deployment:
    """Run two deployers concurrently to their end; create the file `go` when one waits for the lock of the other."""
    deployers = [start(command, url, code) for _ in range(2)]
    try:
        if gated:
            await_deployers_at_the_lock(url, 2)
            (code / "alembic" / "versions" / "go").touch()
        deadline = time.monotonic() + deadline_seconds
        for deployer in deployers:
            with suppress(subprocess.TimeoutExpired):
                deployer.wait(max(0, deadline - time.monotonic()))
    finally:
        for deployer in deployers:
            deployer.kill()
        output = [deployer.communicate()[0] for deployer in deployers]
    return Deployment([deployer.returncode for deployer in deployers], recorded(url), "".join(output))


@pytest.mark.fault("M1")
@pytest.mark.parametrize(
    ("command", "revision"),
    [(MIGRATE, "base"), (MIGRATE, "001"), (MIGRATE, HEAD), (ALEMBIC_UPGRADE, "base")],
    ids=["migrate from empty", "migrate from 001", "migrate from N-1", "alembic from empty"],
)
def test_concurrent_deployers_build_index_concurrently(
    empty_database: URL, gated_code: Path, command: Sequence[str | Path], revision: str
) -> None:
    if revision != "base":
        upgrade_to(empty_database, revision)

    deployment = deploy_twice(empty_database, gated_code, command)

    deployment.assert_good(GATED)
    assert any("index valid t CREATE INDEX twap_status_status_idx" in line for line in describe(empty_database))
    assert deployment.output.count("-> 900") <= 1


@pytest.mark.fault("M1")
@pytest.mark.parametrize("revision", ["base", REVISIONS[-2]])
def test_concurrent_deployers_both_succeed(empty_database: URL, code: Path, revision: str) -> None:
    if revision != "base":
        upgrade_to(empty_database, revision)

    deploy_twice(empty_database, code, gated=False).assert_good(HEAD)


@pytest.mark.fault("M1", control=True)
def test_blocking_lock_hangs_concurrent_deployers(empty_database: URL, gated_code: Path) -> None:
    change_code(gated_code, "locks", POLLED, BLOCKING)

    deployment = deploy_twice(empty_database, gated_code, deadline_seconds=3)

    with pytest.raises(AssertionError):
        deployment.assert_good(GATED)
    assert deployment.statuses == [-signal.SIGKILL, -signal.SIGKILL]


@pytest.mark.fault("M1", control=True)
def test_read_before_migration_loses_its_commit(empty_database: URL, code: Path) -> None:
    change_code(code, "upgrade", GIVEN, READ_FIRST)

    deployment = deploy_twice(empty_database, code, gated=False)

    with pytest.raises(AssertionError):
        deployment.assert_good(HEAD)
    assert deployment.revisions == []


@pytest.mark.fault("M1")
def test_killed_deployer_does_not_block_the_next(empty_database: URL, gated_code: Path) -> None:
    killed = start(MIGRATE, empty_database, gated_code)
    await_deployers_at_the_lock(empty_database, 1)
    assert await_true(lambda: recorded(empty_database) == [HEAD], DEADLINE_SECONDS)
    killed.kill()
    killed.communicate()

    deploy_twice(empty_database, gated_code).assert_good(GATED)


STATUS = """
INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key, size_executed, raw_payload, inserted_at)
VALUES ('1', '0xa', '2025-08-17 12:00Z', 'k', 0.10, '{"state_sz": "0.10"}', now())
"""
LOG_ENTRY = """
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, rows_ingested, ingested_at)
VALUES ('k', '2025-08-17 13:00Z', 1, now())
"""
QUARANTINED = (
    "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason) VALUES ('k', 1, '{}', 'no ts')"
)
PAST_VERSION = "INSERT INTO etl_s3_ingest_history (s3_object_key, kind) VALUES ('k', 'requeued')"
ORDER = (
    "INSERT INTO twap_orders (twap_id, wallet, last_status_at, event_count, first_event_at, first_object_key,"
    " last_object_key) VALUES ('1', '0x', now(), 1, now(), 'k', 'k')"
)


def rows_of_001(url: URL) -> list[str]:
    """Return the rows of both tables, columns of revision 001 only."""
    columns = {
        "twap_status": "twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,"
        " duration_minutes, s3_object_key, raw_payload, inserted_at",
        "etl_s3_ingest_log": "s3_object_key, last_modified, rows_ingested, error_text, ingested_at",
    }
    with psycopg.connect(in_clear(url)) as connection:
        return [
            str(row)
            for table, names in columns.items()
            for row in connection.execute(f"SELECT ({names})::text FROM {table}".encode())
        ]


@pytest.mark.fault("M4")
def test_rows_of_001_survive_upgrade_and_downgrade(empty_database: URL) -> None:
    upgrade_to(empty_database, "001")
    execute(empty_database, f"{STATUS}; {LOG_ENTRY}")
    before = rows_of_001(empty_database)
    assert len(before) == 2

    upgrade_to(empty_database, "head")
    assert rows_of_001(empty_database) == before
    alembic(empty_database, *ALLOW_DATA_LOSS, "downgrade", "001")
    assert (recorded(empty_database), rows_of_001(empty_database)) == (["001"], before)
    upgrade_to(empty_database, "head")
    assert (recorded(empty_database), rows_of_001(empty_database)) == ([HEAD], before)


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (STATUS, "twap_status"),
        (LOG_ENTRY, "etl_s3_ingest_log"),
        (f"{LOG_ENTRY}; {PAST_VERSION}", "etl_s3_ingest_log, etl_s3_ingest_history"),
        (QUARANTINED, "twap_status_quarantine"),
        (ORDER, "twap_orders"),
    ],
    ids=["status", "log entry", "history", "quarantine", "order"],
)
def test_downgrade_that_destroys_rows_is_refused(database: URL, statement: str, table: str) -> None:
    downgrade_to(database, "002")
    execute(database, statement)
    before = describe(database), recorded(database), rows_of_001(database)

    output = refused_by_alembic(database, "downgrade", "001")

    assert f"would destroy rows of {table};" in output
    assert "`alembic -x allow-data-loss=yes downgrade …`" in output
    assert (describe(database), recorded(database), rows_of_001(database)) == before


@pytest.mark.fault("M4")
@pytest.mark.parametrize("revision", REVISIONS)
def test_downgrade_guards_every_table_that_loses_columns(
    empty_database: URL, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a revision that does not exist yet: the guard names each table of which a column is dropped."""
    guarded: list[str] = []
    upgrade_to(empty_database, revision)
    before = [line for line in described_tables(empty_database) if ": column " in line]

    monkeypatch.setattr(
        "twap_pipeline.storage.schema.upgrade.refuse_data_loss", lambda _, *tables: guarded.extend(tables)
    )
    downgrade_to(empty_database, "-1")

    names = [" ".join(line.split()[:1] + line.split()[3:4]) for line in before]
    left = {" ".join(line.split()[:1] + line.split()[3:4]) for line in described_tables(empty_database)}
    assert {name.partition(":")[0] for name in names if name not in left} & set(metadata.tables) <= set(guarded)


@pytest.mark.fault("M4")
def test_downgrade_stops_before_revision_that_destroys_rows(database: URL) -> None:
    execute(database, STATUS)

    output = refused_by_alembic(database, "downgrade", "001")

    assert "would destroy rows of twap_status;" in output
    assert (recorded(database), len(rows_of_001(database))) == (["002"], 1)


@pytest.mark.fault("M4")
def test_downgrade_with_allow_data_loss_drops_orders(database: URL) -> None:
    execute(database, ORDER)

    alembic(database, *ALLOW_DATA_LOSS, "downgrade", "001")

    assert recorded(database) == ["001"]


@pytest.mark.fault("M4")
def test_downgrade_to_base_needs_allow_data_loss(empty_database: URL) -> None:
    upgrade_to(empty_database, "001")
    execute(empty_database, f"{STATUS}; {LOG_ENTRY}")

    output = refused_by_alembic(empty_database, "-x", "allow-data-loss=no", "downgrade", "base")
    assert "would destroy rows of twap_status, etl_s3_ingest_log;" in output
    assert recorded(empty_database) == ["001"]

    alembic(empty_database, *ALLOW_DATA_LOSS, "downgrade", "base")
    assert recorded(empty_database) == []


@pytest.mark.fault("M4")
def test_row_committed_during_downgrade_is_kept(database: URL) -> None:
    with psycopg.connect(in_clear(database)) as writer:
        writer.execute(STATUS.encode())
        downgrade = start((BIN / "alembic", "downgrade", "001"), database, ROOT)
        assert await_true(lambda: count_sessions(database, "wait_event_type = 'Lock'") == 1, DEADLINE_SECONDS)
        writer.commit()

    output = downgrade.communicate(timeout=DEADLINE_SECONDS)[0]

    assert "would destroy rows of twap_status;" in output
    assert (downgrade.returncode, recorded(database), len(rows_of_001(database))) == (255, ["002"], 1)


def test_upgrade_refuses_tables_without_revision(empty_database: URL) -> None:
    execute(empty_database, "CREATE TABLE twap_status (twap_id TEXT)")

    with (
        connected(empty_database) as engine,
        pytest.raises(SchemaRevisionError, match=r"has twap_status but records no revision.*alembic stamp 001"),
    ):
        upgrade(engine)
