"""Where a database stands against the code, deployers that meet, and downgrades that would destroy rows."""

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
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE
from twap_pipeline.storage.schema.revision_gate import read_revision, require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.embedded.client_process import await_true
from twap_pipeline_tests.storage.migrate_process import DEADLINE_SECONDS, MIGRATE, change_code, count_sessions, start
from twap_pipeline_tests.storage.test_migration_commands import (
    BIN,
    HEAD,
    REVISIONS,
    alembic,
    in_clear,
    recorded,
    refused_by_alembic,
)
from twap_pipeline_tests.storage.test_schema import connected, describe, downgrade_to, execute, upgrade_to

LOSS = ("-x", "allow-data-loss=yes")

ALEMBIC_UPGRADE = (BIN / "alembic", "upgrade", "head")
GATED = "900"
GATED_REVISION = f'''"""An index built beside the writers, once the test says so."""

import time
from pathlib import Path

from alembic import op

revision = "{GATED}"
down_revision = "{HEAD}"


def upgrade() -> None:
    deadline = time.monotonic() + {DEADLINE_SECONDS}
    while not Path(__file__).with_name("go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody says go")
        time.sleep(0.02)
    with op.get_context().autocommit_block():
        op.create_index("twap_status_status_idx", "twap_status", ["status"], postgresql_concurrently=True)
'''

POLLED = 'while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):'
BLOCKING = 'while connection.scalar(text("SELECT pg_advisory_lock(:key) IS NULL"), {"key": _LOCK_KEY}):'
GIVEN = 'config.attributes["connection"] = connection'
READ_FIRST = GIVEN + "; read_revision(connection)"


@pytest.mark.fault("R6")
def test_at_head_is_let_through(engine: Engine) -> None:
    revision = require_head(engine)

    assert (revision.current, revision.head, revision.at_head) == ((HEAD,), HEAD, True)


@pytest.mark.fault("R6")
def test_an_empty_database_is_refused_naming_head_and_command(empty_database: URL) -> None:
    with connected(empty_database) as engine, pytest.raises(SchemaRevisionError) as refused:
        require_head(engine)

    assert str(refused.value) == (
        f"the database has no tables of ours yet, this code needs {HEAD}: run `twap-pipeline migrate`"
    )


@pytest.mark.fault("R6")
def test_an_older_database_is_refused_naming_both_revisions_and_the_command(database: URL, engine: Engine) -> None:
    downgrade_to(database, "001")

    with pytest.raises(SchemaRevisionError) as refused:
        require_head(engine)

    assert str(refused.value) == f"the database is at 001, this code needs {HEAD}: run `twap-pipeline migrate`"


def set_revision(url: URL, revision: str) -> None:
    execute(url, f"UPDATE {ALEMBIC_VERSION_TABLE} SET version_num = '{revision}'")


@pytest.mark.fault("R6")
def test_a_newer_database_is_refused_naming_both_revisions_and_the_command(database: URL, engine: Engine) -> None:
    set_revision(database, "999")

    with pytest.raises(SchemaRevisionError) as refused:
        require_head(engine)

    assert f"is at 999, which this code (head {HEAD}) does not know" in str(refused.value)
    assert f"`alembic downgrade {HEAD}`" in str(refused.value)


@pytest.mark.fault("R6")
def test_upgrade_refuses_a_newer_database_and_leaves_it(database: URL, engine: Engine) -> None:
    set_revision(database, "999")
    before = describe(database)

    with pytest.raises(SchemaRevisionError, match="999"):
        upgrade(engine)

    assert (recorded(database), describe(database)) == (["999"], before)


def test_looking_at_the_revision_makes_no_table(empty_database: URL) -> None:
    with connected(empty_database) as engine, engine.begin() as connection:
        assert read_revision(connection).current == ()

    assert describe(empty_database) == []


@pytest.mark.parametrize("start_at", ["base", *REVISIONS[:-1]])
def test_upgrade_persists_head_and_a_second_one_changes_nothing(empty_database: URL, start_at: str) -> None:
    if start_at != "base":
        upgrade_to(empty_database, start_at)
    with connected(empty_database) as engine:
        assert upgrade(engine).at_head
    before = describe(empty_database)
    with connected(empty_database) as engine:
        assert upgrade(engine).at_head

    assert (recorded(empty_database), describe(empty_database)) == ([HEAD], before)


@pytest.mark.fault("M1")
def test_who_cannot_get_the_lock_gives_up_at_the_deadline(database: URL, engine: Engine) -> None:
    with migration_lock(engine), connected(database) as other:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match=r"held the migration lock for 0\.5 seconds"):
            upgrade(other, deadline_seconds=0.5)
        assert 0.5 <= time.monotonic() - started < 3


@pytest.mark.fault("M1")
def test_the_lock_is_free_again_after_success_and_after_failure(database: URL, engine: Engine) -> None:
    upgrade(engine)
    set_revision(database, "999")
    with pytest.raises(SchemaRevisionError):
        upgrade(engine)

    with connected(database) as other, migration_lock(other, deadline_seconds=0):
        pass


@dataclass(frozen=True)
class Deployment:
    """What became of deployers that ran at once; the status of one that had to be killed is negative."""

    statuses: list[int]
    revisions: list[str]
    said: str

    def assert_good(self, head: str) -> None:
        assert self.statuses == [0, 0], self.said
        assert self.revisions == [head], self.said


@pytest.fixture
def gated_code(code: Path) -> Path:
    """A copy of the code with a further revision, which waits for the file `go` and then works CONCURRENTLY."""
    (code / "alembic" / "versions" / f"{GATED}_concurrently.py").write_text(GATED_REVISION, "utf-8")
    return code


def await_deployers_at_the_lock(url: URL, number: int) -> None:
    at_the_lock: LiteralString = "query LIKE '%%advisory_lock%%'"
    assert await_true(lambda: count_sessions(url, at_the_lock) == number, DEADLINE_SECONDS)


def deploy_twice(
    url: URL,
    code: Path,
    command: Sequence[str | Path] = MIGRATE,
    *,
    gated: bool = True,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Deployment:
    """Run two deployers at once to their end; a gate is opened when one has the lock and the other wants it."""
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
        said = [deployer.communicate()[0] for deployer in deployers]
    return Deployment([deployer.returncode for deployer in deployers], recorded(url), "".join(said))


@pytest.mark.fault("M1")
@pytest.mark.parametrize(
    ("command", "revision"),
    [(MIGRATE, "base"), (MIGRATE, "001"), (MIGRATE, HEAD), (ALEMBIC_UPGRADE, "base")],
    ids=["migrate from empty", "migrate from 001", "migrate from N-1", "alembic from empty"],
)
def test_two_deployers_at_once_both_succeed_with_a_step_concurrently(
    empty_database: URL, gated_code: Path, command: Sequence[str | Path], revision: str
) -> None:
    if revision != "base":
        upgrade_to(empty_database, revision)

    deployment = deploy_twice(empty_database, gated_code, command)

    deployment.assert_good(GATED)
    assert any("index valid t CREATE INDEX twap_status_status_idx" in line for line in describe(empty_database))
    assert deployment.said.count("-> 900") <= 1


@pytest.mark.fault("M1")
@pytest.mark.parametrize("revision", ["base", REVISIONS[-2]])
def test_two_deployers_at_once_both_succeed(empty_database: URL, code: Path, revision: str) -> None:
    if revision != "base":
        upgrade_to(empty_database, revision)

    deploy_twice(empty_database, code, gated=False).assert_good(HEAD)


@pytest.mark.fault("M1", control=True)
def test_with_a_blocking_lock_the_same_deployers_hang_on_broken_build(empty_database: URL, gated_code: Path) -> None:
    change_code(gated_code, "migration_locks", POLLED, BLOCKING)

    deployment = deploy_twice(empty_database, gated_code, deadline_seconds=3)

    with pytest.raises(AssertionError):
        deployment.assert_good(GATED)
    assert deployment.statuses == [-signal.SIGKILL, -signal.SIGKILL]


@pytest.mark.fault("M1", control=True)
def test_a_read_before_the_migration_s_transaction_persists_nothing_on_broken_build(
    empty_database: URL, code: Path
) -> None:
    change_code(code, "migrations", GIVEN, READ_FIRST)

    deployment = deploy_twice(empty_database, code, gated=False)

    with pytest.raises(AssertionError):
        deployment.assert_good(HEAD)
    assert deployment.revisions == []


@pytest.mark.fault("M1")
def test_a_deployer_killed_on_its_way_leaves_the_lock_and_a_clean_revision_to_the_next(
    empty_database: URL, gated_code: Path
) -> None:
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
LEDGER = """
INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, rows_ingested, ingested_at)
VALUES ('k', '2025-08-17 13:00Z', 1, now())
"""
REJECTED = (
    "INSERT INTO twap_status_quarantine (s3_object_key, row_number, raw_row, reason) VALUES ('k', 1, '{}', 'no ts')"
)
ORDER = (
    "INSERT INTO twap_orders (twap_id, wallet, last_status_at, event_count, first_event_at, first_object_key,"
    " last_object_key) VALUES ('1', '0x', now(), 1, now(), 'k', 'k')"
)


def rows_of_001(url: URL) -> list[str]:
    """Return the rows of both tables by the columns that 001 gave them."""
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
def test_rows_of_001_survive_an_upgrade_an_allowed_downgrade_and_an_upgrade(empty_database: URL) -> None:
    upgrade_to(empty_database, "001")
    execute(empty_database, f"{STATUS}; {LEDGER}")
    before = rows_of_001(empty_database)
    assert len(before) == 2

    upgrade_to(empty_database, "head")
    assert rows_of_001(empty_database) == before
    alembic(empty_database, *LOSS, "downgrade", "001")
    assert (recorded(empty_database), rows_of_001(empty_database)) == (["001"], before)
    upgrade_to(empty_database, "head")
    assert (recorded(empty_database), rows_of_001(empty_database)) == ([HEAD], before)


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    ("statement", "table"),
    [(STATUS, "twap_status"), (LEDGER, "etl_s3_ingest_log"), (REJECTED, "twap_status_quarantine")],
    ids=["status", "ledger", "quarantine"],
)
def test_a_downgrade_that_would_destroy_rows_is_refused_and_changes_nothing(
    database: URL, statement: str, table: str
) -> None:
    downgrade_to(database, "002")
    execute(database, statement)
    before = describe(database), recorded(database), rows_of_001(database)

    said = refused_by_alembic(database, "downgrade", "001")

    assert f"would destroy rows of {table};" in said
    assert "`alembic -x allow-data-loss=yes downgrade …`" in said
    assert (describe(database), recorded(database), rows_of_001(database)) == before


@pytest.mark.fault("M4")
def test_a_downgrade_of_several_revisions_stops_before_the_one_that_would_destroy_rows(database: URL) -> None:
    execute(database, STATUS)

    said = refused_by_alembic(database, "downgrade", "001")

    assert "would destroy rows of twap_status;" in said
    assert (recorded(database), len(rows_of_001(database))) == (["002"], 1)


@pytest.mark.fault("M4")
def test_orders_are_not_dropped_unasked(database: URL) -> None:
    execute(database, ORDER)

    assert "would destroy rows of twap_orders;" in refused_by_alembic(database, "downgrade", "003")
    assert recorded(database) == ["004"]

    alembic(database, *LOSS, "downgrade", "003")
    assert recorded(database) == ["003"]


@pytest.mark.fault("M4")
def test_downgrade_base_is_refused_while_001_holds_rows_unless_asked_for_by_name(empty_database: URL) -> None:
    upgrade_to(empty_database, "001")
    execute(empty_database, f"{STATUS}; {LEDGER}")

    said = refused_by_alembic(empty_database, "-x", "allow-data-loss=no", "downgrade", "base")
    assert "would destroy rows of twap_status, etl_s3_ingest_log;" in said
    assert recorded(empty_database) == ["001"]

    alembic(empty_database, *LOSS, "downgrade", "base")
    assert recorded(empty_database) == []


@pytest.mark.fault("M4")
def test_a_row_that_a_writer_commits_during_the_downgrade_is_not_destroyed(database: URL) -> None:
    with psycopg.connect(in_clear(database)) as writer:
        writer.execute(STATUS.encode())
        downgrade = start((BIN / "alembic", "downgrade", "001"), database, ROOT)
        assert await_true(lambda: count_sessions(database, "wait_event_type = 'Lock'") == 1, DEADLINE_SECONDS)
        writer.commit()

    said = downgrade.communicate(timeout=DEADLINE_SECONDS)[0]

    assert "would destroy rows of twap_status;" in said
    assert (downgrade.returncode, recorded(database), len(rows_of_001(database))) == (255, ["002"], 1)


def test_tables_without_a_recorded_revision_are_refused_with_the_way_out(empty_database: URL) -> None:
    execute(empty_database, "CREATE TABLE twap_status (twap_id TEXT)")

    with (
        connected(empty_database) as engine,
        pytest.raises(SchemaRevisionError, match=r"has twap_status but records no revision.*alembic stamp 001"),
    ):
        upgrade(engine)
