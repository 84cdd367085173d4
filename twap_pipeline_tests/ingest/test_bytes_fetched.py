"""The budget of a UTC day counts each fetched byte: of every version, failed attempt, repeated GET and deep audit."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.errors import BudgetExceededError
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.s3 import S3Bucket, S3Location
from twap_pipeline.storage.ingest_log import bytes_read_today, requeue
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.feed_factories import raw_rows, write_parquet
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server
from twap_pipeline_tests.storage.statistics import set_empty_statistics

pytestmark = pytest.mark.fault("X6")


def read_today(engine: Engine) -> int:
    with engine.connect() as connection:
        return bytes_read_today(connection)


def size(bucket: Bucket, key: str) -> int:
    return Path(bucket.directory / key).stat().st_size


def test_every_version_of_an_object_is_counted(engine: Engine, bucket: Bucket) -> None:
    expected = 0
    for hour in range(3):
        for key in ("a", "b"):
            bucket.put(key, [event(number) for number in range(hour + 1)], hours=hour)
            expected += size(bucket, key)
        ingest_everything(LocalDirectory(bucket.directory), engine)

    assert read_today(engine) == expected


def test_every_failed_attempt_is_counted_and_kept(engine: Engine, bucket: Bucket) -> None:
    """The error of each earlier attempt is in the history; a fixed object does not hide them."""
    store = LocalDirectory(bucket.directory)
    (bucket.directory / "a").write_bytes(b"not parquet")
    bucket.touch("a", hours=0)
    for _ in range(5):
        ingest_everything(store, engine)
    of_failures = read_today(engine)
    bucket.put("a", [event(1)], hours=1)
    ingest_everything(store, engine)

    assert of_failures == 3 * len(b"not parquet")
    assert read_today(engine) == of_failures + size(bucket, "a")
    with engine.connect() as connection:
        past = connection.execute(text("SELECT kind, error_text IS NOT NULL FROM etl_s3_ingest_history")).all()
    assert past == [("failed_attempt", True)] * 3


def test_attempt_of_a_skipped_load_is_counted(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a", [event(1)])
    store = LocalDirectory(bucket.directory)
    (ref,) = store.list_objects()

    results = [ingest_object(store, engine, ref, bucket.day) for _ in range(3)]

    assert [result.skipped for result in results] == [False, True, True]
    assert read_today(engine) == 3 * ref.size_bytes


def test_requeued_object_is_counted_once_per_load(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a", [event(1)])
    store = LocalDirectory(bucket.directory)
    ingest_everything(store, engine)
    with engine.begin() as connection:
        requeue(connection, ["a"], "by the test")
    requeued = read_today(engine)
    ingest_everything(store, engine)

    assert (requeued, read_today(engine)) == (size(bucket, "a"), 2 * size(bucket, "a"))


def test_attempts_of_yesterday_are_not_counted(engine: Engine, bucket: Bucket) -> None:
    store = LocalDirectory(bucket.directory)
    for hour in range(2):
        bucket.put("a", [event(1)], hours=hour)
        ingest_everything(store, engine)
    with engine.begin() as connection:
        for table in ("log", "history"):
            connection.execute(text(f"UPDATE etl_s3_ingest_{table} SET ingested_at = ingested_at - interval '1 day'"))

    assert read_today(engine) == 0


def test_object_that_is_being_loaded_counts_with_its_size(engine: Engine) -> None:
    """Also after a crash of its process; not on the next day."""
    statement = text(
        "INSERT INTO etl_s3_ingest_attempts (s3_object_key, etag, size_bytes, started_at)"
        " VALUES ('a', 'e', 100, now()), ('b', 'e', 10, now()), ('c', 'e', 1, now() - interval '1 day')"
    )
    with engine.begin() as connection:
        connection.execute(statement)

    assert read_today(engine) == 110


def test_deep_audit_is_counted_and_bounded(engine: Engine, bucket: Bucket) -> None:
    """The second audit of the day exceeds the budget: it reads nothing, and is not counted."""
    bucket.put("a", [event(1)])
    store = LocalDirectory(bucket.directory)
    ingest_everything(store, engine)
    budget = size(bucket, "a") * 5 // 2

    run_audit(store, engine, since=bucket.day, deep=True, max_bytes_per_day=budget)
    with pytest.raises(BudgetExceededError, match="TWAP_MAX_BYTES_PER_DAY"):
        run_audit(store, engine, since=bucket.day, deep=True, max_bytes_per_day=budget)

    assert read_today(engine) == 2 * size(bucket, "a")
    assert run_audit(store, engine, since=bucket.day).findings == []


@pytest.mark.parametrize("broken_gets", [0, 1, 2, 3])
def test_repeated_gets_of_one_attempt_are_counted(engine: Engine, s3: S3Server, broken_gets: int) -> None:
    """The counted bytes are those that the server sent, also of bodies that were corrupt."""
    s3.client().create_bucket(Bucket="twap")
    s3.client().put_object(Bucket="twap", Key="raw/2025/08/20/a.parquet", Body=write_parquet(raw_rows(1)))
    sent: list[int] = []

    def corrupt(request: Request, response: Response) -> Response:
        if "list-type" in request.args:
            return response
        body = response.get_data()
        sent.append(len(body))
        response.set_data(b"?" * len(body) if len(sent) <= broken_gets else body)
        return response

    s3.faults.append(corrupt)
    store = S3Bucket(s3.client(), S3Location("twap", "raw/"))

    (result,) = ingest_everything(store, engine)

    assert (result.error is None, len(sent)) == (broken_gets < 3, min(broken_gets + 1, 3))
    assert read_today(engine) == sum(sent) > 0


@pytest.mark.parametrize("is_analyzed", [True, False], ids=["analyzed", "empty-statistics"])
def test_bytes_of_the_day_are_found_by_an_index(engine: Engine, *, is_analyzed: bool) -> None:
    """The cost does not grow with the number of loaded objects, whatever the statistics are."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_log (s3_object_key, last_modified, ingested_at, bytes_fetched, source_url)"
                " SELECT number::text, now(), now() - interval '30 days' * (number % 100 + 1), 1, 's3://twap/raw/'"
                " FROM generate_series(1, 20000) AS number"
            )
        )
        connection.execute(
            text(
                "INSERT INTO etl_s3_ingest_history (s3_object_key, kind, ingested_at)"
                " SELECT s3_object_key, 'requeued', ingested_at FROM etl_s3_ingest_log"
            )
        )
        connection.execute(text("ANALYZE etl_s3_ingest_log, etl_s3_ingest_history"))
    if not is_analyzed:
        set_empty_statistics(engine)
    with engine.connect() as connection:
        query = load_queries("twap_pipeline.storage", "ingest_log.sql")["bytes_read_today"]
        plan = "\n".join(connection.execute(text(f"EXPLAIN {query}")).scalars())

    assert "etl_s3_ingest_log_ingested_at_idx" in plan
    assert "etl_s3_ingest_history_ingested_at_idx" in plan
