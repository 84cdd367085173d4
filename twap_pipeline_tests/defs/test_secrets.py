"""Passwords and keys through failures of every kind: in no output, no record of Dagster's, no table."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import polars as pl
import pytest
from sqlalchemy import Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.definitions import build_definitions
from twap_pipeline.settings import load_settings
from twap_pipeline_tests.factories import DAY, event
from twap_pipeline_tests.invariants import leaked_secrets
from twap_pipeline_tests.s3_server import AWS_SECRET, S3Server

PASSWORD = "canary/p@s:s%word#that?nothing+may tell"
KEY = f"raw/{DAY:%Y/%m/%d}/a.parquet"


@dataclass(frozen=True)
class Target:
    """What a failure is done to."""

    engine: Engine
    s3: S3Server
    monkeypatch: pytest.MonkeyPatch

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement))


@pytest.fixture
def target(engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A database whose role has the canary for a password, and a bucket with one object."""
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


@pytest.fixture
def kept_instance(tmp_path: Path) -> Iterator[tuple[dg.DagsterInstance, Path]]:
    """An instance that keeps everything in files."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance, folder


def _answer(status: int, code: str) -> Callable[[Request, Response], Response]:
    return lambda _request, _response: Response(f"<Error><Code>{code}</Code></Error>", status)


def refused_by_the_store(target: Target) -> None:
    target.s3.faults.append(_answer(403, "AccessDenied"))


def expired_credentials(target: Target) -> None:
    target.s3.faults.append(_answer(400, "ExpiredToken"))


def store_out_of_order(target: Target) -> None:
    target.s3.faults.append(_answer(404, "NoSuchBucket"))


def poisoned_object(target: Target) -> None:
    target.s3.client().put_object(Bucket="twap", Key=KEY, Body=b"poison")


def wrong_password(target: Target) -> None:
    target.run(f"ALTER ROLE canary_{target.engine.url.database} PASSWORD 'another'")


def no_permission(target: Target) -> None:
    target.run(f"REVOKE ALL ON twap_status FROM canary_{target.engine.url.database}")


def other_revision(target: Target) -> None:
    target.run("UPDATE twap_alembic_version SET version_num = '001'")


def no_such_option(target: Target) -> None:
    url = target.engine.url.set(drivername="postgresql", password=PASSWORD, query={"nonsense": "1"})
    target.monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))


def no_url_at_all(target: Target) -> None:
    target.monkeypatch.setenv("DATABASE_URL", f"mysql://twap:{PASSWORD}@localhost/twap")


FAILURES = [
    refused_by_the_store,
    expired_credentials,
    store_out_of_order,
    poisoned_object,
    wrong_password,
    no_permission,
    other_revision,
    no_such_option,
    no_url_at_all,
]


@pytest.mark.fault("X2")
@pytest.mark.parametrize("fail", FAILURES)
def test_no_failure_tells_the_password_or_the_key(
    target: Target,
    kept_instance: tuple[dg.DagsterInstance, Path],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[Target], None],
) -> None:
    instance, folder = kept_instance
    fail(target)
    job = build_definitions(load_settings()).resolve_job_def("ingest_twap_status")

    result = job.execute_in_process(instance=instance, partition_key=str(DAY), raise_on_error=False)

    assert not result.success
    output = capfd.readouterr()
    told = "".join((output.out, output.err, caplog.text)).encode()
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"ingest_twap_status" in kept
    for secret in (PASSWORD, quote(PASSWORD, safe=""), AWS_SECRET):
        assert secret.encode() not in told
        assert secret.encode() not in kept
    with target.engine.connect() as connection:
        assert leaked_secrets(connection, (PASSWORD, AWS_SECRET)) == []
