"""What tests share: one throwaway PostgreSQL per session, a migrated database per test, and no ambient settings.

The server is the embedded one, real in every respect but fsync. A test's database is a copy of a migrated template,
made in some tens of milliseconds.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from sqlalchemy import URL, Engine

from twap_pipeline.embedded import EmbeddedPostgres
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage.engine.engine import make_engine
from twap_pipeline.storage.engine.url import parse_database_url
from twap_pipeline.storage.schema.upgrade import upgrade
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.hypothesis_profiles import LONG_PROFILE
from twap_pipeline_tests.invariants import ExpectedHash, PipelineScenario, digest, ingest_everything
from twap_pipeline_tests.s3_server import AWS_SECRET, S3Server, s3_server

settings.register_profile(LONG_PROFILE, print_blob=True)

_AMBIENT = ("DATABASE_URL", "TWAP_", "DAGSTER_HOME", "AWS_")
_numbers = itertools.count(1)
_canaries = {AWS_SECRET}
"""What no test's output may hold; the server's password comes to it."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose output or log tells a secret, whatever it is about (X2)."""
    report = yield
    if (
        report.when == "teardown"
        and report.passed
        and any(canary in said for canary in _canaries for _, said in report.sections)
    ):
        report.outcome = "failed"
        report.longrepr = "X2: the test's output or log tells the database's password or the AWS secret"
    return report


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take the developer's own settings away from every test, and point the state at a folder of its own."""
    for name in os.environ:
        if name.startswith(_AMBIENT):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TWAP_HOME", str(tmp_path_factory.getbasetemp() / "unused-home"))


@contextmanager
def reachable_directory() -> Iterator[Path]:
    """A folder that a server run as another user can reach, deleted in the end with whatever it put elsewhere."""
    directory = Path(tempfile.mkdtemp(prefix="twap-tests-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        for data in directory.glob("**/postgres/data"):
            if data.is_symlink():
                shutil.rmtree(data.resolve().parent)
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A PostgreSQL of this session, stopped and deleted in the end."""
    with reachable_directory() as directory, EmbeddedPostgres(directory / "postgres") as server:
        url = server.start()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        _canaries.add(parse_database_url(url).password or AWS_SECRET)
        yield url


@pytest.fixture(scope="session")
def template(server_url: str) -> str:
    """The name of a database at head that tests copy."""
    name = "twap_template"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    engine = make_engine(parse_database_url(server_url).set(database=name))
    upgrade(engine)
    engine.dispose()
    return name


def create_database(server_url: str, template: str = "template1") -> URL:
    """Return the URL of a new database that is a copy of the template."""
    name = f"test_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
    return parse_database_url(server_url).set(database=name)


@pytest.fixture
def empty_database(server_url: str) -> URL:
    """A database without any table."""
    return create_database(server_url)


@pytest.fixture
def database(server_url: str, template: str, monkeypatch: pytest.MonkeyPatch) -> URL:
    """A database at head, which DATABASE_URL names for the length of the test."""
    url = create_database(server_url, template)
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    return url


@pytest.fixture
def engine(database: URL) -> Iterator[Engine]:
    """An engine on `database`."""
    engine = make_engine(database)
    yield engine
    engine.dispose()


@pytest.fixture
def expected_hash(server_url: str, template: str) -> ExpectedHash:
    """Tells what a clean run gives."""

    def run(store: ObjectStore) -> str:
        engine = make_engine(create_database(server_url, template))
        ingest_everything(store, engine)
        found = digest(engine)
        engine.dispose()
        return found

    return run


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    """An empty directory that stands for the bucket."""
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
    """An S3 endpoint that demands requester-pays."""
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_of_session: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The endpoint without buckets or faults, and credentials for it in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS_SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("TWAP_ALLOW_INSECURE_ENDPOINT", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    s3_of_session.reset()
    return s3_of_session
