"""Secrets after failures: in no output, no Dagster record and no table."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import Engine, text
from werkzeug.wrappers import Response

from twap_pipeline_tests.defs.code_location import load_definitions
from twap_pipeline_tests.factories import DAY, event
from twap_pipeline_tests.invariants import leaked_secrets
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.secret_scan import AWS_SECRET

PASSWORD = "canary/p@s:s%word#that?nothing+may expose"
KEY = f"raw/{DAY:%Y/%m/%d}/a.parquet"


@dataclass(frozen=True)
class Target:
    """The database and the bucket of a test."""

    engine: Engine
    s3: S3Server
    monkeypatch: pytest.MonkeyPatch

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement))


@pytest.fixture
def target(engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A database role whose password is the canary, and a bucket with one object."""
    role = f"canary_{engine.url.database}"
    s3.client().create_bucket(Bucket="twap")
    body = io.BytesIO()
    pl.DataFrame([event(1)]).write_parquet(body)
    s3.client().put_object(Bucket="twap", Key=KEY, Body=body.getvalue())
    target = Target(engine, s3, monkeypatch)
    target.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    target.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    url = engine.url.set(drivername="postgresql", username=role, password=PASSWORD)
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    return target


@pytest.fixture(scope="module")
def stored_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dg.DagsterInstance, Path]]:
    """An instance with file storage, and its folder; all tests add their runs to it."""
    folder = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance, folder


def store_refuses_access(target: Target) -> None:
    response = Response("<Error><Code>AccessDenied</Code></Error>", 403)
    target.s3.faults.append(lambda _request, _response: response)


def object_is_not_parquet(target: Target) -> None:
    target.s3.client().put_object(Bucket="twap", Key=KEY, Body=b"not parquet")


def password_is_wrong(target: Target) -> None:
    target.run(f"ALTER ROLE canary_{target.engine.url.database} PASSWORD 'another'")


def permission_is_missing(target: Target) -> None:
    target.run(f"REVOKE ALL ON twap_status FROM canary_{target.engine.url.database}")


def url_option_is_unknown(target: Target) -> None:
    url = target.engine.url.set(drivername="postgresql", password=PASSWORD, query={"nonsense": "1"})
    target.monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))


def url_scheme_is_unknown(target: Target) -> None:
    target.monkeypatch.setenv("DATABASE_URL", f"mysql://twap:{PASSWORD}@localhost/twap")


FAILURES = [
    store_refuses_access,
    object_is_not_parquet,
    password_is_wrong,
    permission_is_missing,
    url_option_is_unknown,
    url_scheme_is_unknown,
]


@pytest.mark.fault("X2")
@pytest.mark.parametrize("fail", FAILURES)
def test_failed_run_exposes_no_secret(
    target: Target,
    stored_instance: tuple[dg.DagsterInstance, Path],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[Target], None],
) -> None:
    instance, folder = stored_instance
    fail(target)
    job = load_definitions().resolve_job_def("ingest_twap_status")

    result = job.execute_in_process(instance=instance, partition_key=str(DAY), raise_on_error=False)

    assert not result.success
    output = capfd.readouterr()
    printed = "".join((output.out, output.err, caplog.text)).encode()
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"ingest_twap_status" in stored
    for secret in (PASSWORD, quote(PASSWORD, safe=""), AWS_SECRET):
        assert secret.encode() not in printed
        assert secret.encode() not in stored
    with target.engine.connect() as connection:
        assert leaked_secrets(connection, (PASSWORD, AWS_SECRET)) == []
