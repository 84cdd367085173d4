"""The command ``ingest`` prints one line per failure of the source, the object store or the database."""

import pytest
from sqlalchemy import URL, Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline_tests.cli.command_runner import Command, count_rows, key
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.storage.catalog import execute


@pytest.mark.fault("S7")
def test_refused_objects_in_a_row_are_one_error_line(
    command: Command, bucket: Bucket, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the run is the pipeline's, which names bucket and key, not botocore's."""
    bucket.put("a.parquet", [event(1)])
    s3.client().create_bucket(Bucket="twap")
    for name in "abc":
        s3.client().upload_file(str(bucket.directory / "a.parquet"), "twap", f"raw/{DAY:%Y/%m/%d}/{name}.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.faults.append(refuse_get)

    outcome = command("ingest", "--json", "--source", "s3://twap/raw/")

    assert outcome.status == 1
    assert "the store refused 3 objects in a row" in outcome.err
    assert "GET s3://twap/raw/2025/08/20/c.parquet: 403 AccessDenied" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM etl_s3_ingest_log")).scalar_one() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "--start", "2024-01-01", "--end", "2024-02-01"], "from 2024-01-01 to 2024-02-01 (exclusive)"),
        (["ingest", "--object-key", "nowhere.parquet"], "lists no object 'nowhere.parquet'"),
        (["ingest", "--source", "file:///no/such/directory/"], "/no/such/directory"),
        (["ingest", "--source", "ftp://somewhere/"], "expected s3://bucket/prefix/ or file:///absolute/directory/"),
    ],
)
def test_range_or_source_without_objects_is_one_error_line(
    command: Command, bucket: Bucket, database: URL, arguments: list[str], message: str
) -> None:
    bucket.put(key("a"), [event(1)])

    outcome = command(*arguments)

    assert outcome.status == 1
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_missing_bucket_is_one_error_line(
    command: Command, database: URL, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)

    missing = command("ingest", "--source", "s3://no-such-bucket/raw/")

    assert missing.status == 1
    assert "NoSuchBucket" in missing.err
    assert len(missing.err.splitlines()) == 1


@pytest.mark.fault("S1")
def test_refused_bucket_is_one_error_line_with_requester_pays(
    command: Command, engine: Engine, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().create_bucket(Bucket="twap")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    s3.faults.append(refuse_access)

    outcome = command("ingest", "--source", "s3://twap/raw/")

    assert outcome.status == 1
    assert "LIST s3://twap/raw/: 403 AccessDenied" in outcome.err
    assert "requester-pays" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert count_rows(engine) == 0


def refuse_get(request: Request, response: Response) -> Response:
    return response if "list-type" in request.args else refuse_access(request, response)


def refuse_access(_request: Request, _response: Response) -> Response:
    return Response("<Error><Code>AccessDenied</Code></Error>", 403)


@pytest.mark.fault("X2")
def test_wrong_database_password_is_one_error_line_without_it(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(key("a"), [event(1)])
    wrong = database.set(password="canary")
    monkeypatch.setenv("DATABASE_URL", wrong.render_as_string(hide_password=False))

    outcome = command("ingest")

    assert outcome.status == 1
    assert "password authentication failed" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "canary" not in outcome.out + outcome.err


def test_denied_permission_of_a_run_names_the_grant(
    command: Command, bucket: Bucket, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(f"hourly/{DAY:%Y/%m/%d}/12/a.parquet", [event(1)])
    role = f"limited_{database.database}"
    execute(database, f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    execute(database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    execute(database, f"GRANT INSERT ON etl_s3_key_layouts TO {role}")
    limited = database.set(username=role, password="p")
    monkeypatch.setenv("DATABASE_URL", limited.render_as_string(hide_password=False))

    outcome = command("ingest", "--json")

    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert 'grant the privilege: GRANT SELECT, INSERT, UPDATE, DELETE ON "etl_s3_ingest_attempts" TO' in outcome.err
