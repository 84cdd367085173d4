"""Taking objects from a bucket that changes, refuses or has odd keys: over the real S3 protocol, into a real table."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import pytest
from dagster_aws.s3 import S3Resource
from sqlalchemy import Engine, text
from werkzeug.wrappers import Request, Response

from twap_pipeline.errors import SourceAccessError
from twap_pipeline.failpoints import activate_failpoint
from twap_pipeline.ingest.fetch import MAX_RELISTS
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.base import S3Location
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline_tests.factories import DAY, event
from twap_pipeline_tests.invariants import ExpectedHash, assert_invariants, ingest_everything
from twap_pipeline_tests.mutants import any_version, expect_failure
from twap_pipeline_tests.s3_server import S3Server

NAME, PREFIX = "twap", "raw/twap_statuses/"


@dataclass(frozen=True)
class Remote:
    """A bucket behind the S3 protocol, and the database that it is taken into."""

    server: S3Server
    store: S3Bucket
    engine: Engine
    clean_hash: ExpectedHash

    def put(self, name: str, *twap_ids: int) -> str:
        """Write an object of these orders and return its ETag."""
        body = io.BytesIO()
        pl.DataFrame([event(twap_id) for twap_id in twap_ids]).write_parquet(body)
        answer = self.server.client().put_object(Bucket=NAME, Key=PREFIX + name, Body=body.getvalue())
        return answer["ETag"].strip('"')

    def ledger(self) -> dict[str, tuple[str, str | None]]:
        """Return name → ETag and error."""
        with self.engine.connect() as connection:
            found = connection.execute(text("SELECT s3_object_key, etag, error_text FROM etl_s3_ingest_log"))
            return {key.removeprefix(PREFIX): (etag, error) for key, etag, error in found}

    def assert_invariants(self, gets_max: int) -> None:
        """Fail unless all that must hold after a fault holds, within so many GETs."""
        gets = self.server.requests["GET"]
        assert gets <= gets_max
        assert_invariants(self.engine, self.store, self.clean_hash(self.store))


@pytest.fixture
def remote(s3: S3Server, engine: Engine, clean_hash: ExpectedHash) -> Remote:
    """An empty bucket."""
    s3.client().create_bucket(Bucket=NAME)
    client = S3Resource(endpoint_url=s3.url, region_name="us-east-1", max_attempts=3).get_client()
    return Remote(s3, S3Bucket(client, S3Location(NAME, PREFIX)), engine, clean_hash)


@pytest.mark.fault("D3")
def test_an_object_overwritten_between_list_and_get_is_listed_again_and_loaded_under_its_own_etag(
    remote: Remote,
) -> None:
    old = remote.put("a.parquet", 1)
    remote.put("a.parquet.bak", 9)
    listed, _ = remote.store.list_objects()
    new = remote.put("a.parquet", 1, 2)
    remote.server.requests.clear()

    done = ingest_object(remote.store, remote.engine, listed, DAY)

    assert (listed.etag, done.ref.etag, done.row_counts.inserted) == (old, new, 2)
    assert remote.ledger() == {"a.parquet": (new, None)}
    assert dict(remote.server.requests) == {"GET": 2, "LIST": 1}


@pytest.mark.fault("D3", control=True)
def test_without_if_match_the_ledger_names_bytes_that_were_not_read_on_broken_build(remote: Remote) -> None:
    with expect_failure(any_version):
        test_an_object_overwritten_between_list_and_get_is_listed_again_and_loaded_under_its_own_etag(remote)


@pytest.mark.fault("D3")
def test_an_object_that_is_overwritten_again_and_again_is_left_to_a_later_run(remote: Remote) -> None:
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

    done = ingest_object(remote.store, remote.engine, listed, DAY)

    assert "overwritten after it was listed" in (done.error or "")
    assert remote.server.requests["GET"] == remote.server.requests["LIST"] + 1 == MAX_RELISTS + 1
    remote.server.faults.clear()
    ingest_everything(remote.store, remote.engine)
    remote.assert_invariants(gets_max=MAX_RELISTS + 2)


@pytest.mark.fault("D4")
def test_an_object_deleted_after_the_listing_is_recorded_as_gone_and_the_others_go_on(remote: Remote) -> None:
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        remote.put(name, ord(name[0]))
    refs = list(remote.store.list_objects())
    remote.server.client().delete_object(Bucket=NAME, Key=f"{PREFIX}b.parquet")

    done = [ingest_object(remote.store, remote.engine, ref, DAY) for ref in refs]

    assert [one.error is None for one in done] == [True, False, True]
    assert "it was deleted after it was listed" in (done[1].error or "")
    assert ingest_everything(remote.store, remote.engine) == []


@pytest.mark.fault("D4")
def test_an_object_overwritten_and_then_deleted_is_gone(remote: Remote) -> None:
    remote.put("a.parquet", 1)
    (listed,) = remote.store.list_objects()
    remote.put("a.parquet", 2)
    remote.put("a.parquet.bak", 3)

    def delete(request: Request, response: Response) -> Response:
        if request.headers.get("If-Match"):
            remote.server.client().delete_object(Bucket=NAME, Key=f"{PREFIX}a.parquet")
        return response

    remote.server.faults.append(delete)

    done = ingest_object(remote.store, remote.engine, listed, DAY)

    assert done.error == "it was overwritten after it was listed, and then deleted"


@pytest.mark.fault("S5")
def test_no_transaction_is_open_while_an_object_is_downloaded(remote: Remote) -> None:
    remote.put("a.parquet", 1)
    seen: list[int] = []

    def list_slice() -> None:
        with remote.engine.connect() as connection:
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
            seen.append(int(connection.execute(text(sessions)).scalar_one()) - 1)

    with activate_failpoint("downloaded", list_slice):
        ingest_everything(remote.store, remote.engine)

    assert seen == [0]


def refuse_after(gets: int, status: int, code: str) -> Callable[[Request, Response], Response]:
    """Answer every GET but the first so many as S3 answers such credentials or such a clock."""
    left = [gets]

    def fault(request: Request, response: Response) -> Response:
        if "list-type" in request.args:
            return response
        left[0] -= 1
        return (
            response if left[0] >= 0 else Response(f"<Error><Code>{code}</Code><Message>no</Message></Error>", status)
        )

    return fault


@pytest.mark.fault("S6")
@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (400, "ExpiredToken", "the AWS credentials have expired: renew them"),
        (403, "RequestTimeTooSkewed", "this host's clock differs from the store's"),
    ],
)
def test_credentials_that_fail_midway_are_told_at_once_and_what_is_loaded_is_not_fetched_again(
    remote: Remote, status: int, code: str, cause: str
) -> None:
    for number in range(6):
        remote.put(f"{number}.parquet", number)
    remote.server.requests.clear()
    remote.server.faults.append(refuse_after(3, status, code))

    with pytest.raises(SourceAccessError, match=rf"GET s3://{NAME}/{PREFIX}\d.parquet: {status} {code}.*{cause}"):
        ingest_everything(remote.store, remote.engine)

    assert remote.server.requests["GET"] <= 6
    assert len(remote.ledger()) == 3
    remote.server.faults.clear()
    remote.server.requests.clear()
    ingest_everything(remote.store, remote.engine)
    remote.assert_invariants(gets_max=3)


ODD_KEYS = [
    "a b+c.parquet",
    "100%25.parquet",
    "e\u0301.parquet",
    "\u00e9.parquet",
    "🙂`*_[x](y)|.parquet",
    "x" * (1_024 - len(PREFIX)),
]


@pytest.mark.fault("D7")
def test_odd_keys_go_round_through_the_ledger_and_markers_are_skipped(remote: Remote) -> None:
    for number, name in enumerate(ODD_KEYS):
        remote.put(name, number)
    remote.server.client().put_object(Bucket=NAME, Key=f"{PREFIX}folder/", Body=b"")
    remote.server.requests.clear()

    ingest_everything(remote.store, remote.engine)

    assert sorted(remote.ledger()) == sorted(ODD_KEYS)
    assert ingest_everything(remote.store, remote.engine) == []
    remote.assert_invariants(gets_max=len(ODD_KEYS))
