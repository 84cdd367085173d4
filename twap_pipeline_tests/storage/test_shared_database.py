"""Migrations in a database that Dagster's storage shares, and from an installed wheel."""

import shutil
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest
from dagster_postgres.storage import DagsterPostgresStorage
from sqlalchemy import URL

from twap_pipeline.paths import ROOT
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.schema.drift import drift
from twap_pipeline.storage.schema.models import ALEMBIC_VERSION_TABLE, VIEWS, metadata
from twap_pipeline.storage.schema.revision_gate import require_head
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.databases import create_database
from twap_pipeline_tests.storage.catalog import connected, describe, downgrade_to, execute, in_clear, recorded
from twap_pipeline_tests.storage.migrate_process import (
    BIN,
    CREATE,
    HEAD,
    alembic,
    copy_migrations,
    new_revision,
    run,
)

SEQUENCE = "etl_s3_ingest_history_history_id_seq"
OURS = tuple(f"{name}:" for name in (*metadata.tables, *VIEWS, SEQUENCE, ALEMBIC_VERSION_TABLE))

UPGRADE = """
import os
import twap_pipeline
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade

print(twap_pipeline.__file__)
print(upgrade(make_engine(parse_database_url(os.environ["DATABASE_URL"]))).message)
"""


def create_dagster_tables(url: URL) -> None:
    DagsterPostgresStorage(in_clear(url.set(drivername="postgresql+psycopg2")))


def others(url: URL) -> list[str]:
    """Return the content of the schema that is not ours."""
    return [line for line in describe(url) if not line.startswith(OURS)]


def ours(url: URL) -> list[str]:
    return [line for line in describe(url) if line.startswith(OURS)]


def dagster_revisions(url: URL) -> list[str]:
    with psycopg.connect(in_clear(url)) as connection:
        return [revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")]


@pytest.fixture(scope="module")
def dagster_template(server_url: str) -> str:
    """The name of a database with Dagster's tables."""
    url = create_database(server_url)
    create_dagster_tables(url)
    assert any(line.startswith("event_logs: column") for line in describe(url))
    assert len(dagster_revisions(url)) == 1
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


def test_migrations_keep_dagster_tables(dagster_database: URL, database: URL) -> None:
    before = describe(dagster_database), dagster_revisions(dagster_database)

    with connected(dagster_database) as engine:
        upgrade(engine)
    assert (others(dagster_database), dagster_revisions(dagster_database)) == before
    assert ours(dagster_database) == describe(database)

    downgrade_to(dagster_database, "base")
    assert (others(dagster_database), dagster_revisions(dagster_database)) == before


def test_dagster_storage_keeps_our_tables(database: URL) -> None:
    before = describe(database)

    create_dagster_tables(database)

    assert ours(database) == before
    assert (recorded(database), len(dagster_revisions(database))) == ([HEAD], 1)
    assert others(database) != []


def test_gate_and_drift_ignore_dagster_tables(shared_database: URL) -> None:
    with connected(shared_database) as engine, engine.connect() as connection:
        assert require_head(engine).at_head
        assert drift(connection) == []


def test_alembic_check_ignores_dagster_tables(shared_database: URL, tmp_path: Path) -> None:
    alembic(shared_database, "check")
    alembic(shared_database, "revision", "--autogenerate", "-m", "nothing", cwd=copy_migrations(tmp_path))

    assert "op." not in new_revision(tmp_path, "nothing")


def test_create_works_in_dagster_database(dagster_database: URL, database: URL) -> None:
    with connected(dagster_database) as engine:
        assert create_schema(engine) == HEAD

    assert ours(dagster_database) == describe(database)


def test_foreign_alembic_version_table_is_ignored(empty_database: URL) -> None:
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


def test_wheel_contains_required_files_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    versions = {f"alembic/versions/{path.name}" for path in (ROOT / "alembic" / "versions").glob("*.py")}
    bundled = {"alembic/env.py", "alembic/script.py.mako", "alembic.ini", "dagster.yaml", "workspace.yaml", *versions}
    assert {f"twap_pipeline/_project/{name}" for name in bundled} <= names
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "twap_pipeline").rglob("*") if path.is_file()}
    assert {name for name in package if "__pycache__" not in name} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"twap_pipeline"}
    assert not any("__pycache__" in name for name in names)


def test_installed_wheel_migrates(installed: Path, empty_database: URL, database: URL, tmp_path: Path) -> None:
    done = run(sys.executable, "-c", UPGRADE, url=empty_database, cwd=tmp_path, python_path=installed)

    assert done.stdout.splitlines() == [str(installed / "twap_pipeline" / "__init__.py"), f"at head {HEAD}"]
    assert describe(empty_database) == describe(database)
    assert list(tmp_path.iterdir()) == []


def test_installed_wheel_creates_schema(installed: Path, empty_database: URL, database: URL, tmp_path: Path) -> None:
    done = run(*CREATE, url=empty_database, cwd=tmp_path, python_path=installed)

    assert done.returncode == 0, done.stderr
    assert describe(empty_database) == describe(database)


def test_alembic_runs_with_installed_configuration(installed: Path, database: URL, tmp_path: Path) -> None:
    ini = installed / "twap_pipeline" / "_project" / "alembic.ini"

    done = run(BIN / "alembic", "-c", ini, "check", url=database, cwd=tmp_path, python_path=installed)

    assert "No new upgrade operations detected." in done.stdout
