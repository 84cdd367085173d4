"""Loads from a bucket that changes, refuses requests or has unusual keys, over the S3 protocol into a real table."""

import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from dagster_aws.s3 import S3Resource
from sqlalchemy import Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.errors import LocalResourceError, SourceAccessError
from twap_pipeline.failpoints import activate_failpoint
from twap_pipeline.ingest import load
from twap_pipeline.ingest.fetch import MAX_RELISTS
from twap_pipeline.ingest.load import ingest_object, ingest_objects
from twap_pipeline.ingest.refusals import RefusalStreak
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.source.s3 import S3Bucket, S3Location
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline_tests.factories import DAY, event
from twap_pipeline_tests.invariants import ExpectedHash, assert_invariants, ingest_everything
from twap_pipeline_tests.mutants import expect_failure, no_if_match
from twap_pipeline_tests.s3_server import Fault, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAME, PREFIX = "twap", "raw/twap_statuses/"


@dataclass(frozen=True)
class Remote:
    """A bucket behind the S3 protocol, and the database that it is loaded into."""

    server: S3Server
    store: S3Bucket
    engine: Engine
    expected_hash: ExpectedHash

    def put(self, name: str, *twap_ids: int) -> str:
        """Write an object of these orders and return its ETag."""
        body = io.BytesIO()
        pl.DataFrame([event(twap_id) for twap_id in twap_ids]).write_parquet(body)
        response = self.server.client().put_object(Bucket=NAME, Key=PREFIX + name, Body=body.getvalue())
        return response["ETag"].strip('"')

    def log_entries(self) -> dict[str, tuple[str, str | None]]:
        """Return name → ETag and error."""
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT s3_object_key, etag, error_text FROM etl_s3_ingest_log"))
            return {key.removeprefix(PREFIX): (etag, error) for key, etag, error in rows}

    def assert_invariants(self, gets_max: int) -> None:
        """Fail unless the invariants hold, within a maximum number of GET requests."""
        assert self.server.requests["GET"] <= gets_max
        assert_invariants(self.engine, self.store, self.expected_hash(self.store))


@cache
def client_of(url: str) -> "S3Client":
    """Return a client, which costs more than a request, once per server."""
    client: S3Client = S3Resource(endpoint_url=url, region_name="us-east-1", max_attempts=3).get_client()
    return client


@pytest.fixture
def remote(s3: S3Server, engine: Engine, expected_hash: ExpectedHash) -> Remote:
    """An empty bucket."""
    s3.client().create_bucket(Bucket=NAME)
    return Remote(s3, S3Bucket(client_of(s3.url), S3Location(NAME, PREFIX)), engine, expected_hash)


@pytest.mark.fault("D3")
def test_object_overwritten_after_listing_is_listed_again(
    remote: Remote,
) -> None:
    old = remote.put("a.parquet", 1)
    remote.put("a.parquet.bak", 9)
    listed, _ = remote.store.list_objects()
    new = remote.put("a.parquet", 1, 2)
    remote.server.requests.clear()

    result = ingest_object(remote.store, remote.engine, listed, DAY)

    assert (listed.etag, result.ref.etag, result.row_counts.inserted) == (old, new, 2)
    assert remote.log_entries() == {"a.parquet": (new, None)}
    assert dict(remote.server.requests) == {"GET": 2, "LIST": 1}


@pytest.mark.fault("D3", control=True)
def test_no_if_match_mutant_is_detected(remote: Remote) -> None:
    with expect_failure(no_if_match):
        test_object_overwritten_after_listing_is_listed_again(remote)


@pytest.mark.fault("D3")
def test_object_overwritten_repeatedly_fails_until_next_run(remote: Remote) -> None:
    remote.put("a.parquet", 1)
    (listed,) = remote.store.list_objects()
    versions = iter(range(2, 100))

    def overwrite(request: Request, response: Response) -> Response:
        if "list-type" in request.args:
            remote.put("a.parquet", next(versions))
        return response

    remote.put("a.parquet", 0)
    remote.server.faults.append(overwrite)
    remote.server.requests.clear()

    result = ingest_object(remote.store, remote.engine, listed, DAY)

    assert "overwritten after it was listed" in (result.error or "")
    assert remote.server.requests["GET"] == remote.server.requests["LIST"] + 1 == MAX_RELISTS + 1
    remote.server.faults.clear()
    ingest_everything(remote.store, remote.engine)
    remote.assert_invariants(gets_max=MAX_RELISTS + 2)


@pytest.mark.fault("D4")
def test_object_deleted_after_listing_fails_alone(remote: Remote) -> None:
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        remote.put(name, ord(name[0]))
    refs = list(remote.store.list_objects())
    remote.server.client().delete_object(Bucket=NAME, Key=f"{PREFIX}b.parquet")

    results = [ingest_object(remote.store, remote.engine, ref, DAY) for ref in refs]

    assert [result.error is None for result in results] == [True, False, True]
    assert "it was deleted after it was listed" in (results[1].error or "")
    assert ingest_everything(remote.store, remote.engine) == []


@pytest.mark.fault("D4")
def test_object_overwritten_and_then_deleted_is_gone(remote: Remote) -> None:
    remote.put("a.parquet", 1)
    (listed,) = remote.store.list_objects()
    remote.put("a.parquet", 2)
    remote.put("a.parquet.bak", 3)

    def delete(request: Request, response: Response) -> Response:
        if request.headers.get("If-Match"):
            remote.server.client().delete_object(Bucket=NAME, Key=f"{PREFIX}a.parquet")
        return response

    remote.server.faults.append(delete)

    result = ingest_object(remote.store, remote.engine, listed, DAY)

    assert result.error == "it was overwritten after it was listed, and then deleted"


@pytest.mark.fault("S5")
def test_no_transaction_is_open_during_a_download(remote: Remote) -> None:
    remote.put("a.parquet", 1)
    open_sessions: list[int] = []

    def count_sessions() -> None:
        with remote.engine.connect() as connection:
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
            open_sessions.append(int(connection.execute(text(sessions)).scalar_one()) - 1)

    with activate_failpoint("downloaded", count_sessions):
        ingest_everything(remote.store, remote.engine)

    assert open_sessions == [0]


def refuse_after(gets: int, status: int, code: str) -> Callable[[Request, Response], Response]:
    """Return a fault that answers every GET request after the first ones with an S3 error."""
    remaining = [gets]

    def fault(request: Request, response: Response) -> Response:
        if "list-type" in request.args:
            return response
        remaining[0] -= 1
        return (
            response
            if remaining[0] >= 0
            else Response(f"<Error><Code>{code}</Code><Message>no</Message></Error>", status)
        )

    return fault


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (400, "ExpiredToken", "the AWS credentials have expired: renew them"),
        (403, "RequestTimeTooSkewed", "the clock of this host is wrong"),
    ],
)
def test_refused_credentials_end_the_run_and_keep_progress(remote: Remote, status: int, code: str, cause: str) -> None:
    for number in range(6):
        remote.put(f"{number}.parquet", number)
    remote.server.requests.clear()
    remote.server.faults.append(refuse_after(3, status, code))

    with pytest.raises(SourceAccessError, match=rf"GET s3://{NAME}/{PREFIX}\d.parquet: {status} {code}.*{cause}"):
        ingest_everything(remote.store, remote.engine)

    assert remote.server.requests["GET"] <= 6
    assert len(remote.log_entries()) == 3
    remote.server.faults.clear()
    remote.server.requests.clear()
    ingest_everything(remote.store, remote.engine)
    remote.assert_invariants(gets_max=3)


def refuse_objects(names: str, code: str) -> Fault:
    """Return a fault that refuses every GET of the objects whose names start with one of these letters."""

    def fault(request: Request, response: Response) -> Response:
        if "list-type" in request.args or not request.path.removeprefix(f"/{NAME}/{PREFIX}").startswith(tuple(names)):
            return response
        return Response(f"<Error><Code>{code}</Code><Message>no</Message></Error>", 403)

    return fault


@pytest.mark.fault("S7")
@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("bd", "AccessDenied"),
        ("abcd", "InvalidObjectState"),
    ],
)
def test_refused_objects_park_and_the_others_load(remote: Remote, names: str, code: str) -> None:
    """An archived object is at fault itself, also if there are many."""
    for name in "abcde":
        remote.put(f"{name}.parquet", ord(name))
    remote.server.faults.append(refuse_objects(names, code))
    remote.server.requests.clear()

    for _ in range(4):
        ingest_everything(remote.store, remote.engine)

    entries = remote.log_entries()
    failed = {f"{name}.parquet" for name in names}
    assert {name for name, (_, error) in entries.items() if error is None} == {f"{n}.parquet" for n in "abcde"} - failed
    assert all(f"GET s3://{NAME}/{PREFIX}{name}: 403 {code}" in str(entries[name][1]) for name in failed)
    with remote.engine.connect() as connection:
        assert all(read_ingest_log(connection)[PREFIX + name].failed_attempts == 3 for name in failed)
    assert remote.server.requests["GET"] == 5 + 2 * len(names)


@pytest.mark.fault("S7")
def test_object_that_is_read_ends_a_row_of_refusals(remote: Remote) -> None:
    for name in "abcd":
        remote.put(f"{name}.parquet", ord(name))
    remote.server.faults.append(refuse_objects("abd", "AccessDenied"))

    ingest_everything(remote.store, remote.engine)

    assert [name for name, (_, error) in remote.log_entries().items() if error is None] == ["c.parquet"]


@pytest.mark.fault("S7")
def test_refusals_in_a_row_end_the_run_and_count_no_attempt(remote: Remote) -> None:
    for name in "abcde":
        remote.put(f"{name}.parquet", ord(name))
    remote.server.faults.append(refuse_objects("cde", "AccessDenied"))
    remote.server.requests.clear()

    for _ in range(2):
        with pytest.raises(SourceAccessError, match=r"refused 3 objects in a row.*\.parquet: 403 AccessDenied"):
            ingest_everything(remote.store, remote.engine)

    assert all(error is None for _, error in remote.log_entries().values())
    remote.server.faults.clear()
    ingest_everything(remote.store, remote.engine)
    remote.assert_invariants(gets_max=11)


@pytest.mark.fault("S7")
def test_refusals_in_a_row_are_counted_across_days(remote: Remote) -> None:
    for name in "abc":
        remote.put(f"{name}.parquet", ord(name))
    remote.server.faults.append(refuse_objects("abc", "AccessDenied"))
    first, second, third = remote.store.list_objects()
    streak = RefusalStreak()

    for ref in (first, second):
        (result,) = ingest_objects(remote.store, remote.engine, [ref], DAY, refusals=streak)
        assert "403 AccessDenied" in (result.error or "")
    with pytest.raises(SourceAccessError, match="3 objects in a row"):
        ingest_objects(remote.store, remote.engine, [third], DAY, refusals=streak)

    assert remote.log_entries() == {}


@pytest.mark.fault("W6")
def test_missing_temporary_folder_ends_the_run_without_attempt(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote.put("a.parquet", 1)
    with monkeypatch.context() as patch:
        patch.setattr(load, "ObjectFile", partial(ObjectFile, 1))
        patch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        with pytest.raises(LocalResourceError, match=r"gone.*set TMPDIR"):
            ingest_everything(remote.store, remote.engine)

    assert remote.log_entries() == {}
    ingest_everything(remote.store, remote.engine)
    assert len(remote.log_entries()) == 1


@pytest.mark.fault("D7")
def test_odd_entries_of_a_listing_do_not_stop_the_others(remote: Remote) -> None:
    """Keys with NUL and other bytes, sizes up to 10^19, and LastModified without a zone and of the year 9999."""
    for name in "abc":
        remote.put(f"{name}.parquet", ord(name))
    odd = "".join(
        f"<Contents><Key>{PREFIX}{key}</Key><LastModified>2025-09-01T00:00:00Z</LastModified><ETag>e</ETag>"
        f"<Size>{size}</Size></Contents>"
        for key, size in (("d%00.parquet", 1), ("d%FF.parquet", 1), ("e.parquet", 10**19), ("f.parquet", 10**18))
    )

    def add_entries(request: Request, response: Response) -> Response:
        if "list-type" not in request.args:
            return response
        text = re.sub("<KeyCount>.*</KeyCount>", "", response.get_data(as_text=True))
        times = iter(["2025-08-20T12:00:00", "1980-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
        text = re.sub("(?<=<LastModified>)[^<]*", lambda match: next(times, match[0]), text)
        text = text.replace("</ListBucketResult>", f"{odd}</ListBucketResult>")
        return Response(text, 200, mimetype="application/xml")

    remote.server.faults.append(add_entries)

    refs = list(remote.store.list_objects())
    results = ingest_objects(remote.store, remote.engine, refs, DAY)

    assert [result.error is None for result in results] == [True, True, *[False] * 5]
    entries = remote.log_entries()
    assert sorted(name for name, (_, error) in entries.items() if error) == sorted(
        [r"d\x00.parquet", r"d\udcff.parquet", "c.parquet", "e.parquet", "f.parquet"]
    )


UNUSUAL_KEYS = [
    "a b+c.parquet",
    "100%25.parquet",
    "e\u0301.parquet",
    "\u00e9.parquet",
    "🙂`*_[x](y)|.parquet",
    "x" * (1_024 - len(PREFIX)),
]


@pytest.mark.fault("D7")
def test_unusual_keys_are_loaded_and_markers_skipped(remote: Remote) -> None:
    for number, name in enumerate(UNUSUAL_KEYS):
        remote.put(name, number)
    remote.server.client().put_object(Bucket=NAME, Key=f"{PREFIX}folder/", Body=b"")
    remote.server.requests.clear()

    ingest_everything(remote.store, remote.engine)

    assert sorted(remote.log_entries()) == sorted(UNUSUAL_KEYS)
    assert ingest_everything(remote.store, remote.engine) == []
    remote.assert_invariants(gets_max=len(UNUSUAL_KEYS))
