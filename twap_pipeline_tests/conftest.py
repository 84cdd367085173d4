"""Fixtures of all tests: one embedded PostgreSQL per session, one migrated database per test, no ambient settings.

With pytest-xdist, each worker is a session: it has its own server, S3 endpoint, ports and temporary directory. Helpers
that are not fixtures are in modules of their own: nothing imports this file.
"""

import logging
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import settings
from sqlalchemy import URL, Engine

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.logs import PACKAGE
from twap_pipeline.settings import DATASET_START
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.databases import create_database, drop_database, reachable_directory
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.fault_matrix import FaultMarkers
from twap_pipeline_tests.hypothesis_profiles import LONG_PROFILE, QUICK_PROFILE
from twap_pipeline_tests.invariants import ExpectedHash, PipelineScenario, digest, ingest_everything
from twap_pipeline_tests.s3_server import S3Server, s3_server
from twap_pipeline_tests.secret_scan import AWS_SECRET, SecretScan
from twap_pipeline_tests.tiers import Tiers, has_no_unit_test

settings.register_profile(LONG_PROFILE, print_blob=True)
settings.register_profile(QUICK_PROFILE)

_AMBIENT_PREFIXES = ("DATABASE_URL", "TWAP_", "DAGSTER_", "AWS_", "ALEMBIC_", "PG")
_secret_scan = SecretScan(AWS_SECRET)


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugins of these tests. ``-m unit`` uses few examples and imports only what unit tests need."""
    for plugin in (FaultMarkers(), Tiers(), _secret_scan):
        config.pluginmanager.register(plugin)
    if not _selects_only_unit(config):
        config.addinivalue_line("filterwarnings", "ignore::dagster.BetaWarning")  # pytest imports dagster for it
        if not config.pluginmanager.has_plugin("schemathesis"):
            config.pluginmanager.import_plugin("schemathesis.pytest.plugin")
    elif config.getoption("--hypothesis-profile") is None:
        settings.load_profile(QUICK_PROFILE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m unit``, skip modules without unit tests: they import Dagster and FastAPI, which takes seconds."""
    return True if _selects_only_unit(config) and has_no_unit_test(collection_path) else None


def _selects_only_unit(config: pytest.Config) -> bool:
    return bool(config.option.markexpr == "unit")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remove the developer's settings from the environment; set TWAP_HOME, and a TWAP_START_DATE without the clock."""
    for name in os.environ:
        if name.startswith(_AMBIENT_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TWAP_HOME", str(tmp_path_factory.getbasetemp() / "unused-home"))
    monkeypatch.setenv("TWAP_START_DATE", str(DATASET_START))


@pytest.fixture(autouse=True)
def unconfigured_logging() -> Iterator[None]:
    """Remove what importing the code location or running a command sets on the logger of the package."""
    logger = logging.getLogger(PACKAGE)
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    yield
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session", autouse=True)
def migrations_of_packages_are_loaded_once() -> Iterator[None]:
    """Let all Dagster instances share Dagster's revisions: each storage loads some 50 modules when it is opened."""
    load, packages = ScriptDirectory.from_config, Path(sysconfig.get_path("purelib")).resolve()
    loaded: dict[Path, ScriptDirectory] = {}

    def load_once(config: Config) -> ScriptDirectory:
        path = Path(config.get_main_option("script_location") or "").resolve()
        if not path.is_relative_to(packages):
            return load(config)
        if path not in loaded:
            loaded[path] = load(config)
        return loaded[path]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", load_once)
        yield


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """URL of an embedded PostgreSQL that survives no crash of the host, deleted at the end of the session."""
    with reachable_directory() as directory, EmbeddedPostgres(directory / "postgres") as server:
        url = server.start()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("ALTER SYSTEM SET max_wal_size = '4GB'")
            connection.execute("SELECT pg_reload_conf()")
        _secret_scan.secrets.add(parse_database_url(url).password or AWS_SECRET)
        yield url


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """Name of a database at head, which tests copy in some ten milliseconds."""
    name = "twap_template"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    engine = make_engine(parse_database_url(server_url).set(database=name))
    upgrade(engine)
    engine.dispose()
    return name


@pytest.fixture
def empty_database(server_url: str) -> Iterator[URL]:
    """A database without tables."""
    url = create_database(server_url)
    yield url
    drop_database(server_url, url)


@pytest.fixture
def database(server_url: str, template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[URL]:
    """A database at head; DATABASE_URL is set to it during the test."""
    url = create_database(server_url, template)
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    yield url
    drop_database(server_url, url)


@pytest.fixture
def engine(database: URL) -> Iterator[Engine]:
    """An engine on `database`."""
    engine = make_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def expected_hash(server_url: str, template: str) -> ExpectedHash:
    """Function that ingests a store into a new database and returns the content checksum."""

    def ingest_and_hash(store: ObjectStore) -> str:
        engine = make_engine(create_database(server_url, template))
        ingest_everything(store, engine)
        checksum = digest(engine)
        engine.dispose()
        return checksum

    return ingest_and_hash


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """An empty directory as bucket."""
    directory = tmp_path / "bucket"
    directory.mkdir()
    return Bucket(directory)


@pytest.fixture
def scenario(engine: Engine, bucket: Bucket, expected_hash: ExpectedHash) -> PipelineScenario:
    """Two objects that share an event, and a database at head."""
    bucket.put("a.parquet", [event(twap_id) for twap_id in range(1, 500)])
    bucket.put("b.parquet", [event(twap_id) for twap_id in range(499, 700)], hours=1)
    return PipelineScenario(bucket, engine, expected_hash)


@pytest.fixture(scope="session")
def s3_of_session() -> Iterator[S3Server]:
    """An S3 endpoint that requires the requester-pays header."""
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_of_session: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The endpoint without buckets and faults; its credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("TWAP_ALLOW_INSECURE_ENDPOINT", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    s3_of_session.reset()
    return s3_of_session
