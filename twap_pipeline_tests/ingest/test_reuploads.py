"""The same bytes uploaded again later: the tables equal those of a fresh load of the bucket."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.errors import ObjectChangedError
from twap_pipeline.ingest.audit_runner import run_audit
from twap_pipeline.ingest.load import ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.selection import SkippedObjects
from twap_pipeline_tests.factories import NOON, WALLET, Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.mutants import etag_alone, expect_failure

StoreFactory = Callable[[Path], LocalDirectory]
Row = tuple[str, str, str, timedelta]


class ContentEtags(LocalDirectory):
    """A directory whose ETags depend on the bytes alone, as those of S3 do. The default ETags contain the time."""

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield the files with the MD5 of their bytes as ETag."""
        for ref in super().list_objects(below=below, after=after, skipped=skipped):
            yield replace(ref, etag=self._etag(ref.key))

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Copy the file; raise if it has other bytes than those listed."""
        if self._etag(ref.key) != ref.etag:
            raise ObjectChangedError(ref.key, "it was overwritten")
        into.write((self._directory / ref.key).read_bytes())
        into.seek(0)
        return True

    def _etag(self, key: str) -> str:
        return hashlib.md5((self._directory / key).read_bytes(), usedforsecurity=False).hexdigest()


stores = pytest.mark.parametrize("make_store", [LocalDirectory, ContentEtags], ids=["new etag", "same etag"])


def rows(engine: Engine) -> list[Row]:
    """Return id, executed size, object and the object's age since the default upload time, per stored event."""
    statement = "SELECT twap_id, size_executed, s3_object_key, s3_last_modified FROM twap_status ORDER BY twap_id"
    with engine.connect() as connection:
        return [
            (twap_id, str(size), key, last_modified - NOON - timedelta(days=1))
            for twap_id, size, key, last_modified in connection.execute(text(statement))
        ]


def hours(number: int) -> timedelta:
    return timedelta(hours=number)


@pytest.mark.fault("V13")
@stores
def test_reupload_wins_against_an_object_in_between(engine: Engine, bucket: Bucket, make_store: StoreFactory) -> None:
    store = make_store(bucket.directory)
    bucket.put("a", [event(1, executed="1"), event(2, executed="1")], hours=0)
    bucket.put("b", [event(1, executed="2")], hours=1)
    ingest_everything(store, engine)
    bucket.put("a", [event(1, executed="1"), event(2, executed="1")], hours=2)

    again = ingest_everything(store, engine)

    assert [result.row_counts for result in again] == [RowCounts(updated=1, unchanged=1)]
    assert rows(engine) == [("1", "1", "a", hours(2)), ("2", "1", "a", hours(2))]
    assert ingest_everything(store, engine) == []
    assert run_audit(store, engine, since=bucket.day, deep=True).findings == []


@pytest.mark.fault("V13", control=True)
def test_mutant_etag_alone_is_detected(engine: Engine, bucket: Bucket) -> None:
    with expect_failure(etag_alone):
        test_reupload_wins_against_an_object_in_between(engine, bucket, ContentEtags)


@pytest.mark.fault("V13")
@stores
@pytest.mark.parametrize(
    ("other", "reuploaded_at"),
    [(event(1, executed="2"), 2), (event(1, executed="2", status="finished"), 5)],
    ids=["older than the other object", "lower status"],
)
def test_reupload_that_still_loses_keeps_the_winner(
    engine: Engine, bucket: Bucket, make_store: StoreFactory, other: dict[str, object], reuploaded_at: int
) -> None:
    store = make_store(bucket.directory)
    bucket.put("a", [event(1, executed="1"), event(2, executed="1")], hours=0)
    bucket.put("b", [other], hours=3)
    ingest_everything(store, engine)
    bucket.put("a", [event(1, executed="1"), event(2, executed="1")], hours=reuploaded_at)

    (again,) = ingest_everything(store, engine)

    assert again.row_counts == RowCounts(superseded=1, unchanged=1)
    assert rows(engine) == [("1", "2", "b", hours(3)), ("2", "1", "a", hours(reuploaded_at))]


@pytest.mark.fault("V13")
@pytest.mark.parametrize("requeued", [False, True])
def test_deep_audit_sees_rows_that_a_reupload_must_replace(engine: Engine, bucket: Bucket, *, requeued: bool) -> None:
    """A database of a build that did not read the upload: the ingestion repairs it, and so does a repair."""
    store = ContentEtags(bucket.directory)
    bucket.put("a", [event(1, executed="1")], hours=0)
    bucket.put("b", [event(1, executed="2")], hours=1)
    ingest_everything(store, engine)
    bucket.put("a", [event(1, executed="1")], hours=2)

    report = run_audit(store, engine, since=bucket.day, deep=True, requeue=requeued)
    ingest_everything(store, engine)

    examples = {str(finding.code): finding.examples for finding in report.findings if not finding.is_informational}
    assert examples == {
        "reuploaded_unchanged": ("a: ingested with 2025-08-21 12:00:00+00:00, listed with 2025-08-21 14:00:00+00:00",),
        "rows_changed": (
            f"a: 1 rows, for example twap_id 1, wallet {WALLET}, ts 2025-08-20 12:00:00.123456+00: size_executed,"
            " raw_payload, s3_object_key, s3_last_modified",
        ),
    }
    assert rows(engine) == [("1", "1", "a", hours(2))]
    assert run_audit(store, engine, since=bucket.day, deep=True).findings == []


@pytest.mark.fault("V13")
def test_repair_follows_a_last_modified_that_went_back(engine: Engine, bucket: Bucket) -> None:
    """A deleted S3 version, or a copy of the bucket: the listing shows the same ETag with an older LastModified."""
    store = ContentEtags(bucket.directory)
    bucket.put("a", [event(1, executed="1")], hours=2)
    bucket.put("b", [event(1, executed="2")], hours=1)
    ingest_everything(store, engine)
    bucket.put("a", [event(1, executed="1")], hours=0)

    assert ingest_everything(store, engine) == []
    report = run_audit(store, engine, since=bucket.day, requeue=True)
    ingest_everything(store, engine)

    assert {str(finding.code) for finding in report.findings} == {"inconsistent_log_entry", "rows_changed"}
    assert rows(engine) == [("1", "2", "b", hours(1))]
    assert run_audit(store, engine, since=bucket.day, deep=True).findings == []


@pytest.mark.fault("V13")
def test_older_upload_of_the_same_etag_does_not_replace_newer(engine: Engine, bucket: Bucket) -> None:
    """A loader that listed the object before it was uploaded again skips it: the newer LastModified stays."""
    store = ContentEtags(bucket.directory)
    bucket.put("a", [event(1)], hours=0)
    (old,) = store.list_objects()
    bucket.put("a", [event(1)], hours=2)
    (new,) = store.list_objects()

    results = [ingest_object(store, engine, ref, bucket.day) for ref in (new, old, new)]

    assert [result.skipped for result in results] == [False, True, True]
    assert rows(engine) == [("1", "0.0", "a", hours(2))]


@pytest.mark.fault("V13")
def test_parked_object_is_tried_again_after_a_reupload(engine: Engine, bucket: Bucket) -> None:
    store = ContentEtags(bucket.directory)
    (bucket.directory / "a").write_bytes(b"not parquet")
    bucket.touch("a", hours=0)
    attempts = [len(ingest_everything(store, engine)) for _ in range(5)]
    bucket.touch("a", hours=9)

    (again,) = ingest_everything(store, engine)

    assert attempts == [1, 1, 1, 0, 0]
    assert again.failed_attempts == 1


uploads = st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from("12"), min_size=3, max_size=3))


@pytest.mark.fault("V13")
@examples(25)
@given(
    steps=st.lists(uploads | st.none(), min_size=1, max_size=10),
    make_store=st.sampled_from([LocalDirectory, ContentEtags]),
)
def test_any_uploads_and_loads_converge_to_a_fresh_load(
    engine: Engine, bucket: Bucket, steps: Sequence[tuple[str, list[str]] | None], make_store: StoreFactory
) -> None:
    """A step uploads an object, of the same or of other bytes, or loads what is pending."""
    bucket.clear()
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE twap_status, etl_s3_ingest_log, etl_s3_ingest_history"))
    store, latest = make_store(bucket.directory), {}
    for hour, step in enumerate([*steps, None]):
        if step is None:
            ingest_everything(store, engine)
            continue
        key, sizes = step
        latest[key] = (hour, sizes)
        bucket.put(key, [event(number, executed=size) for number, size in enumerate(sizes)], hours=hour)

    newest = max(((hour, key, sizes) for key, (hour, sizes) in latest.items()), default=None)
    expected = newest and [(str(number), size, newest[1], hours(newest[0])) for number, size in enumerate(newest[2])]
    assert rows(engine) == (expected or [])
    assert run_audit(store, engine, since=bucket.day, deep=True).findings == []
