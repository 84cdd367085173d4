"""Our migrations away from home: in a database that Dagster's storage shares, and from an installed wheel."""

import shutil
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from twap_pipeline.paths import ROOT
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, metadata, twap_daily_stats
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.conftest import create_database
from twap_pipeline_tests.storage.test_migration_commands import (
    BIN,
    HEAD,
    INIT,
    alembic,
    copy_migrations,
    in_clear,
    new_revision,
    recorded,
    run,
)
from twap_pipeline_tests.storage.test_schema import connected, describe, downgrade_to, execute

OURS = tuple(f"{name}:" for name in (*metadata.tables, twap_daily_stats.name, ALEMBIC_VERSION_TABLE))

CREATE_DAGSTER_S_TABLES = """
import os
from dagster_postgres.storage import DagsterPostgresStorage

DagsterPostgresStorage(os.environ["DATABASE_URL"])
"""

UPGRADE = """
import os
import twap_pipeline
from twap_pipeline.storage.database import make_engine, parse_database_url
from twap_pipeline.storage.migrations import upgrade

print(twap_pipeline.__file__)
print(upgrade(make_engine(parse_database_url(os.environ["DATABASE_URL"]))).message)
"""


def create_dagster_s_tables(url: URL) -> None:
    done = run(sys.executable, "-c", CREATE_DAGSTER_S_TABLES, url=url.set(drivername="postgresql+psycopg2"))
    assert done.returncode == 0, done.stderr


def others(url: URL) -> list[str]:
    """Return what in a database is not ours."""
    return [line for line in describe(url) if not line.startswith(OURS)]


def ours(url: URL) -> list[str]:
    return [line for line in describe(url) if line.startswith(OURS)]


def dagster_s_revisions(url: URL) -> list[str]:
    with psycopg.connect(in_clear(url)) as connection:
        return [revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")]


@pytest.fixture(scope="module")
def dagster_template(server_url: str) -> str:
    """The name of a database with Dagster's tables."""
    url = create_database(server_url)
    create_dagster_s_tables(url)
    assert any(line.startswith("event_logs: column") for line in describe(url))
    assert len(dagster_s_revisions(url)) == 1
    return str(url.database)


@pytest.fixture
def dagster_database(server_url: str, dagster_template: str) -> URL:
    """A database with Dagster's tables and none of ours."""
    return create_database(server_url, dagster_template)


@pytest.fixture
def shared_database(dagster_database: URL) -> URL:
    """A database with Dagster's tables and ours at head."""
    with connected(dagster_database) as engine:
        upgrade(engine)
    return dagster_database


def test_upgrade_and_downgrade_leave_dagster_s_tables_as_they_are(dagster_database: URL, database: URL) -> None:
    before = describe(dagster_database), dagster_s_revisions(dagster_database)

    with connected(dagster_database) as engine:
        upgrade(engine)
    assert (others(dagster_database), dagster_s_revisions(dagster_database)) == before
    assert ours(dagster_database) == describe(database)

    downgrade_to(dagster_database, "base")
    assert (others(dagster_database), dagster_s_revisions(dagster_database)) == before


def test_dagster_leaves_our_tables_as_they_are(database: URL) -> None:
    before = describe(database)

    create_dagster_s_tables(database)

    assert ours(database) == before
    assert (recorded(database), len(dagster_s_revisions(database))) == ([HEAD], 1)
    assert others(database) != []


def test_neither_the_gate_nor_drift_minds_dagster_s_tables(shared_database: URL) -> None:
    with connected(shared_database) as engine, engine.connect() as connection:
        assert require_head(engine).at_head
        assert drift(connection) == []


def test_check_and_autogenerate_find_nothing_beside_dagster_s_tables(shared_database: URL, tmp_path: Path) -> None:
    alembic(shared_database, "check")
    alembic(shared_database, "revision", "--autogenerate", "-m", "nothing", cwd=copy_migrations(tmp_path))

    assert "op." not in new_revision(tmp_path, "nothing")


def test_init_creates_our_tables_beside_dagster_s(dagster_database: URL, database: URL) -> None:
    with connected(dagster_database) as engine:
        assert create_schema(engine) == HEAD

    assert ours(dagster_database) == describe(database)


def test_somebody_else_s_alembic_version_is_not_taken_for_ours(empty_database: URL) -> None:
    execute(empty_database, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    execute(empty_database, f"INSERT INTO alembic_version VALUES ('{HEAD}')")

    with connected(empty_database) as engine:
        assert upgrade(engine).at_head

    assert recorded(empty_database) == [HEAD]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is published, built from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("twap_pipeline", "alembic"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("alembic.ini", "dagster.yaml", "workspace.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the wheel's content."""
    directory = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


def test_the_wheel_holds_every_file_that_it_needs_and_no_other_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    versions = {f"alembic/versions/{path.name}" for path in (ROOT / "alembic" / "versions").glob("*.py")}
    beside = {"alembic/env.py", "alembic/script.py.mako", "alembic.ini", "dagster.yaml", "workspace.yaml", *versions}
    assert {f"twap_pipeline/_project/{name}" for name in beside} <= names
    assert {"twap_pipeline/storage/schema.sql", "twap_pipeline/source/sample/real_orders.csv"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"twap_pipeline"}
    assert not any("__pycache__" in name for name in names)


def test_the_installed_wheel_migrates_without_a_checkout(
    installed: Path, empty_database: URL, database: URL, tmp_path: Path
) -> None:
    done = run(sys.executable, "-c", UPGRADE, url=empty_database, cwd=tmp_path, python_path=installed)

    assert done.stdout.splitlines() == [str(installed / "twap_pipeline" / "__init__.py"), f"at head {HEAD}"]
    assert describe(empty_database) == describe(database)
    assert list(tmp_path.iterdir()) == []


def test_the_installed_wheel_initializes_without_a_checkout(
    installed: Path, empty_database: URL, database: URL, tmp_path: Path
) -> None:
    done = run(*INIT, url=empty_database, cwd=tmp_path, python_path=installed)

    assert done.returncode == 0, done.stderr
    assert describe(empty_database) == describe(database)


def test_the_alembic_program_runs_on_the_installed_wheel_s_configuration(
    installed: Path, database: URL, tmp_path: Path
) -> None:
    ini = installed / "twap_pipeline" / "_project" / "alembic.ini"

    done = run(BIN / "alembic", "-c", ini, "check", url=database, cwd=tmp_path, python_path=installed)

    assert "No new upgrade operations detected." in done.stdout
