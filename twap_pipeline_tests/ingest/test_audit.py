"""The audit finds every kind of difference between listing, ingest log and rows, and none in consistent tables."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.invariants import ingest_everything


@pytest.fixture
def loaded(engine: Engine, bucket: Bucket) -> Bucket:
    """Two loaded objects: one contains a quarantined row, both contain the same event."""
    bucket.put("a.parquet", [event(1), event(2), event(3, wallet="nobody")])
    bucket.put("b.parquet", [event(2), event(4)], hours=1)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    return bucket


def examples_by_code(engine: Engine, bucket: Bucket) -> dict[str, tuple[str, ...]]:
    findings = audit(engine, LocalDirectory(bucket.directory).list_objects(), bucket.day)
    return {finding.code: finding.examples for finding in findings}


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_consistent_tables_have_no_findings(engine: Engine, loaded: Bucket) -> None:
    assert examples_by_code(engine, loaded) == {}


@pytest.mark.fault("D8")
def test_deleted_row_is_found(engine: Engine, loaded: Bucket) -> None:
    run(engine, "DELETE FROM twap_status WHERE twap_id = '1'")

    assert examples_by_code(engine, loaded) == {
        "row_count_mismatch": ("3 rows inserted according to the ingest log, 2 stored",)
    }


@pytest.mark.fault("D8")
def test_deleted_log_entry_is_found_with_its_rows(engine: Engine, loaded: Bucket) -> None:
    run(engine, "DELETE FROM etl_s3_ingest_log WHERE s3_object_key = 'b.parquet'")

    examples = examples_by_code(engine, loaded)

    assert examples["not_ingested"] == ("b.parquet",)
    assert examples["orphan_rows"] == ("b.parquet: 2 rows",)


def test_added_row_is_found(engine: Engine, loaded: Bucket) -> None:
    run(engine, "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key) VALUES ('9', 'w', now(), 'b.parquet')")

    assert set(examples_by_code(engine, loaded)) == {"row_count_mismatch", "unknown_object_version"}


def test_changed_object_is_found(engine: Engine, loaded: Bucket) -> None:
    loaded.put("a.parquet", [event(1)], hours=5)

    assert examples_by_code(engine, loaded) == {"etag_changed": ("a.parquet",)}


def test_deleted_object_is_found(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / "a.parquet").unlink()

    assert examples_by_code(engine, loaded) == {"deleted_from_source": ("a.parquet",)}


def test_deleted_quarantined_row_is_found(engine: Engine, loaded: Bucket) -> None:
    run(engine, "DELETE FROM twap_status_quarantine")

    assert examples_by_code(engine, loaded) == {
        "quarantine_count_mismatch": ("a.parquet: 0 quarantined rows, 1 in the ingest log",)
    }


def test_failed_object_is_reported_and_later_as_parked(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / "bad.parquet").write_bytes(b"no parquet")
    store = LocalDirectory(loaded.directory)

    ingest_everything(store, engine)
    first = examples_by_code(engine, loaded)
    ingest_everything(store, engine)
    ingest_everything(store, engine)

    assert first == {"failed": ("bad.parquet",)}
    assert examples_by_code(engine, loaded) == {"parked": ("bad.parquet",)}


def test_parked_object_with_new_etag_is_reported_once(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / "bad.parquet").write_bytes(b"no parquet")
    store = LocalDirectory(loaded.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if ref.key == "bad.parquet"] * 3, loaded.day)
    loaded.put("bad.parquet", [event(9)], hours=7)

    assert examples_by_code(engine, loaded) == {"etag_changed": ("bad.parquet",)}


def test_failed_and_deleted_object_is_reported_as_failed(engine: Engine, loaded: Bucket) -> None:
    bad = loaded.directory / "bad.parquet"
    bad.write_bytes(b"no parquet")
    store = LocalDirectory(loaded.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if ref.key == "bad.parquet"], loaded.day)
    bad.unlink()

    assert examples_by_code(engine, loaded) == {"failed": ("bad.parquet",)}


@pytest.mark.fault("V13")
def test_reupload_of_the_same_etag_is_an_error(engine: Engine, loaded: Bucket) -> None:
    refs = list(LocalDirectory(loaded.directory).list_objects())
    later = replace(refs[0], last_modified=refs[0].last_modified + timedelta(hours=1))

    (finding,) = audit(engine, [later, *refs[1:]], loaded.day)

    assert (finding.code, len(finding.examples), finding.is_informational) == ("reuploaded_unchanged", 1, False)


@pytest.mark.fault("D12")
def test_objects_before_start_date_are_informational(engine: Engine, loaded: Bucket) -> None:
    listing = list(LocalDirectory(loaded.directory).list_objects())

    (finding,) = audit(engine, listing, loaded.day + timedelta(days=9))

    assert (finding.code, finding.is_informational) == ("before_start_date", True)
    assert finding.examples == tuple(ref.key for ref in listing)
