"""The audit finds each way in which listing, ledger and rows can be made to differ, and none where they agree."""

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
    """Two objects, loaded; one row of one is quarantined, one event is in both."""
    bucket.put("a.parquet", [event(1), event(2), event(3, wallet="nobody")])
    bucket.put("b.parquet", [event(2), event(4)], hours=1)
    ingest_everything(LocalDirectory(bucket.directory), engine)
    return bucket


def kinds(engine: Engine, bucket: Bucket) -> dict[str, tuple[str, ...]]:
    found = audit(engine, LocalDirectory(bucket.directory).list_objects(), bucket.day)
    return {one.code: one.examples for one in found}


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_agreement_is_an_empty_audit(engine: Engine, loaded: Bucket) -> None:
    assert kinds(engine, loaded) == {}


@pytest.mark.fault("D8")
def test_a_deleted_row_is_found(engine: Engine, loaded: Bucket) -> None:
    run(engine, "DELETE FROM twap_status WHERE twap_id = '1'")

    assert kinds(engine, loaded) == {"row count": ("the ledger brought in 3 rows, the table holds 2",)}


@pytest.mark.fault("D8")
def test_a_ledger_entry_that_vanished_is_found_with_its_rows(engine: Engine, loaded: Bucket) -> None:
    run(engine, "DELETE FROM etl_s3_ingest_log WHERE s3_object_key = 'b.parquet'")

    found = kinds(engine, loaded)

    assert found["not ingested"] == ("b.parquet",)
    assert found["rows without ledger"] == ("b.parquet: 2 rows",)


def test_a_row_that_was_added_is_found(engine: Engine, loaded: Bucket) -> None:
    run(engine, "INSERT INTO twap_status (twap_id, wallet, ts, s3_object_key) VALUES ('9', 'w', now(), 'b.parquet')")

    assert set(kinds(engine, loaded)) == {"row count", "rows of no version"}


def test_an_object_that_changed_is_found(engine: Engine, loaded: Bucket) -> None:
    loaded.put("a.parquet", [event(1)], hours=5)

    assert kinds(engine, loaded) == {"changed": ("a.parquet",)}


def test_an_object_that_is_gone_is_found(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / "a.parquet").unlink()

    assert kinds(engine, loaded) == {"gone": ("a.parquet",)}


def test_a_quarantined_row_that_was_deleted_is_found(engine: Engine, loaded: Bucket) -> None:
    run(engine, "DELETE FROM twap_status_quarantine")

    assert kinds(engine, loaded) == {"quarantine": ("a.parquet: 0 rows kept, 1 counted",)}


def test_a_failed_object_is_told_and_later_as_parked(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / "bad.parquet").write_bytes(b"no parquet")
    store = LocalDirectory(loaded.directory)

    ingest_everything(store, engine)
    first = kinds(engine, loaded)
    ingest_everything(store, engine)
    ingest_everything(store, engine)

    assert first == {"failed": ("bad.parquet",)}
    assert kinds(engine, loaded) == {"parked": ("bad.parquet",)}


def test_a_parked_object_with_new_bytes_is_told_once(engine: Engine, loaded: Bucket) -> None:
    (loaded.directory / "bad.parquet").write_bytes(b"no parquet")
    store = LocalDirectory(loaded.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if ref.key == "bad.parquet"] * 3, loaded.day)
    loaded.put("bad.parquet", [event(9)], hours=7)

    assert kinds(engine, loaded) == {"changed": ("bad.parquet",)}


def test_a_failed_object_that_is_gone_is_told_as_failed_alone(engine: Engine, loaded: Bucket) -> None:
    bad = loaded.directory / "bad.parquet"
    bad.write_bytes(b"no parquet")
    store = LocalDirectory(loaded.directory)
    ingest_objects(store, engine, [ref for ref in store.list_objects() if ref.key == "bad.parquet"], loaded.day)
    bad.unlink()

    assert kinds(engine, loaded) == {"failed": ("bad.parquet",)}


def test_an_object_sent_again_with_the_same_bytes_is_a_notice(engine: Engine, loaded: Bucket) -> None:
    refs = list(LocalDirectory(loaded.directory).list_objects())
    later = replace(refs[0], last_modified=refs[0].last_modified + timedelta(hours=1))

    (found,) = audit(engine, [later, *refs[1:]], loaded.day)

    assert (found.code, len(found.examples), found.is_informational) == ("sent again", 1, True)


def test_an_object_of_a_day_before_the_start_is_not_taken_for_gone(engine: Engine, loaded: Bucket) -> None:
    assert audit(engine, LocalDirectory(loaded.directory).list_objects(), loaded.day + timedelta(days=9)) == []
