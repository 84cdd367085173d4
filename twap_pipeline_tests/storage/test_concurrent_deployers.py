"""Two deployers at once, and deployers that are killed: each upgrades completely, or leaves a database to upgrade."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from sqlalchemy import URL

from twap_pipeline_tests.embedded.client_process import await_true
from twap_pipeline_tests.mutants import blocking_migration_lock, expect_failure, read_before_migration
from twap_pipeline_tests.storage.catalog import describe, execute, in_clear, recorded, upgrade_to
from twap_pipeline_tests.storage.deployer import Deployer
from twap_pipeline_tests.storage.migrate_process import BIN, DEADLINE_SECONDS, HEAD, copy_migrations, count_sessions

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
WRITE = "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key) VALUES ('1', 'w', now(), 'k')"
INDEX = "twap_status_s3_object_key_idx"
BUILDING: LiteralString = "query LIKE 'CREATE INDEX CONCURRENTLY%%' AND wait_event_type = 'Lock'"
AT_THE_LOCK: LiteralString = "query LIKE '%%advisory%%'"


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """Migrations with a further revision, which waits for the file `go`, then builds an index concurrently."""
    migrations = copy_migrations(tmp_path)
    (migrations / "alembic" / "versions" / f"{GATED}_concurrently.py").write_text(GATED_REVISION, "utf-8")
    return migrations


def open_gate(url: URL, migrations: Path, *, deployers: int) -> None:
    """Create the file `go` when this number of deployers hold the migration lock or wait for it."""
    assert await_true(lambda: count_sessions(url, AT_THE_LOCK) == deployers, DEADLINE_SECONDS)
    (migrations / "alembic" / "versions" / "go").touch()


def deploy_twice(url: URL, gated: Path, *, seconds: float = DEADLINE_SECONDS) -> list[int | None]:
    """Run two deployers that meet at the migration lock; return their exit statuses, negative after a kill."""
    deployers = [Deployer(url, gated) for _ in range(2)]
    try:
        open_gate(url, gated, deployers=2)
        deadline = time.monotonic() + seconds
        for deployer in deployers:
            deployer.wait(max(0, deadline - time.monotonic()))
    finally:
        statuses = [deployer.end()[0] for deployer in deployers]
    return statuses


@pytest.mark.fault("M1")
@pytest.mark.parametrize("revision", ["base", HEAD])
def test_concurrent_deployers_build_index_concurrently(empty_database: URL, gated: Path, revision: str) -> None:
    if revision != "base":
        upgrade_to(empty_database, revision)

    assert deploy_twice(empty_database, gated) == [0, 0]

    assert recorded(empty_database) == [GATED]
    assert any("index valid t CREATE INDEX twap_status_status_idx" in line for line in describe(empty_database))


@pytest.mark.fault("M1")
def test_concurrent_alembic_commands_build_index_once(database: URL, gated: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": in_clear(database)}
    command = (BIN / "alembic", "upgrade", "head")
    both = [subprocess.Popen(command, cwd=gated, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    open_gate(database, gated, deployers=2)

    output = "".join(process.communicate(timeout=DEADLINE_SECONDS)[1] for process in both)

    assert [process.returncode for process in both] == [0, 0], output
    assert (recorded(database), output.count(f"-> {GATED}")) == ([GATED], 1)


@pytest.mark.fault("M1", control=True)
def test_blocking_lock_hangs_concurrent_deployers(empty_database: URL, gated: Path) -> None:
    statuses: list[int | None] = []

    with expect_failure(blocking_migration_lock):
        statuses += deploy_twice(empty_database, gated, seconds=3)
        assert statuses == [0, 0]

    assert 0 not in statuses


@pytest.mark.fault("M1", control=True)
def test_read_before_migration_loses_its_commit(empty_database: URL) -> None:
    with expect_failure(read_before_migration):
        deployer = Deployer(empty_database)
        deployer.wait(DEADLINE_SECONDS)
        assert deployer.end()[0] == 0

    assert recorded(empty_database) == []


@pytest.mark.fault("M1")
def test_killed_deployer_does_not_block_the_next(database: URL, gated: Path) -> None:
    killed = Deployer(database, gated)
    assert await_true(lambda: count_sessions(database, AT_THE_LOCK) == 1, DEADLINE_SECONDS)
    killed.end()

    assert deploy_twice(database, gated) == [0, 0]


@contextmanager
def open_transaction(url: URL, statement: str) -> Iterator[None]:
    """Keep a transaction open that has executed a statement."""
    with psycopg.connect(in_clear(url)) as connection:
        connection.execute(statement.encode())
        yield


def indexes(url: URL) -> dict[str, bool]:
    """Return index name → whether it is valid, of ``twap_status``."""
    with psycopg.connect(in_clear(url)) as connection:
        query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'twap_status'::regclass"
        return dict(connection.execute(query).fetchall())


@pytest.mark.fault("M2")
@pytest.mark.parametrize("with_session", [True, False])
def test_upgrade_after_killed_index_build_succeeds(empty_database: URL, with_session: bool) -> None:
    upgrade_to(empty_database, "002")
    with open_transaction(empty_database, WRITE):
        deployer = Deployer(empty_database)
        assert await_true(lambda: count_sessions(empty_database, BUILDING) == 1, DEADLINE_SECONDS)
        deployer.end()
        if with_session:
            execute(
                empty_database, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query ~ '^CREATE'"
            )
            assert indexes(empty_database)[INDEX] is False

    repeated = Deployer(empty_database)
    repeated.wait(DEADLINE_SECONDS)

    assert (repeated.end(), recorded(empty_database)) == ((0, f"at head {HEAD}"), [HEAD])
    assert INDEX in indexes(empty_database)
    assert all(indexes(empty_database).values())
