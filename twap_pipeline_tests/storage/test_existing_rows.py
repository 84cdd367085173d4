"""Rows that give way, and another loader that comes between the look at them and their deletion."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.loading import status_writer
from twap_pipeline.storage.loading.existing_rows import make_room
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.factories import Bucket, event

STRONGER = text("UPDATE twap_status SET size_executed = 9, s3_last_modified = '2030-01-01Z' WHERE twap_id = '2'")
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


def take(engine: Engine, bucket: Bucket, key: str) -> IngestResult:
    store = LocalDirectory(bucket.directory)
    (ref,) = (ref for ref in store.list_objects() if ref.key == key)
    return ingest_object(store, engine, ref, bucket.day)


def executed(engine: Engine) -> list[Decimal | None]:
    with engine.connect() as connection:
        return [order_history(connection, str(number))[0].size_executed for number in range(1, 5)]


@pytest.fixture
def rivals(engine: Engine, bucket: Bucket) -> Engine:
    """Three events of an older object are stored; a newer object tells them otherwise, and one more."""
    bucket.put("older.parquet", [event(number, executed="1") for number in (1, 2, 3)])
    take(engine, bucket, "older.parquet")
    bucket.put("newer.parquet", [event(number, executed="2") for number in (1, 2, 3, 4)], hours=1)
    return engine


def test_rows_of_an_older_object_give_way_and_new_ones_are_inserted(rivals: Engine, bucket: Bucket) -> None:
    done = take(rivals, bucket, "newer.parquet")

    assert done.row_counts == RowCounts(inserted=1, updated=3)
    assert executed(rivals) == [2, 2, 2, 2]


@pytest.mark.fault("V7")
def test_text_with_every_nuisance_finds_its_way_beside_rows_that_stay(rivals: Engine, bucket: Bucket) -> None:
    asset = "tab\t line\n return\r back\\slash \\N \x0b \x0c \x1c \x85 \u2028 é 🙂"
    bucket.put("last.parquet", [event(number, executed="3", asset=asset) for number in (1, 3, 5)], hours=2)
    bucket.put("newer.parquet", [event(number, executed="2", asset=asset) for number in range(1, 6)], hours=1)
    take(rivals, bucket, "last.parquet")

    done = take(rivals, bucket, "newer.parquet")

    assert done.row_counts == RowCounts(inserted=1, updated=1, superseded=3)
    assert executed(rivals) == [3, 2, 3, 2]
    with rivals.connect() as connection:
        assets = connection.execute(text("SELECT DISTINCT asset FROM twap_status")).scalars().all()
    assert assets == [asset]


def test_a_row_that_another_loader_has_replaced_since_the_look_is_left_alone(
    rivals: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(cursor: Any) -> int:
        with rivals.begin() as other:
            other.execute(STRONGER)
        return make_room(cursor)

    monkeypatch.setattr(status_writer, "make_room", late)
    done = take(rivals, bucket, "newer.parquet")

    assert done.row_counts == RowCounts(inserted=1, updated=2, superseded=1)
    assert executed(rivals) == [2, 9, 2, 2]


def test_a_row_that_another_loader_is_just_replacing_is_left_alone(
    rivals: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_once_awaited(other: Connection) -> None:
        with rivals.connect() as watch:
            until(lambda: watch.execute(WAITING).scalar_one(), 20, "the deletion waits for the row")
        other.commit()

    with rivals.connect() as other, ThreadPoolExecutor(1) as thread:

        def meanwhile(cursor: Any) -> int:
            other.execute(STRONGER)
            thread.submit(commit_once_awaited, other)
            return make_room(cursor)

        monkeypatch.setattr(status_writer, "make_room", meanwhile)
        done = take(rivals, bucket, "newer.parquet")

    assert done.row_counts == RowCounts(inserted=1, updated=2, superseded=1)
    assert executed(rivals) == [2, 9, 2, 2]


def test_an_event_that_another_loader_has_brought_since_the_look_is_met_after_all(
    rivals: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(cursor: Any) -> int:
        bucket.put("between.parquet", [event(4, executed="7")])
        with monkeypatch.context() as patch:
            patch.setattr(status_writer, "make_room", make_room)
            take(rivals, bucket, "between.parquet")
        return make_room(cursor)

    monkeypatch.setattr(status_writer, "make_room", late)
    done = take(rivals, bucket, "newer.parquet")

    assert done.row_counts == RowCounts(updated=4)
    assert executed(rivals) == [2, 2, 2, 2]
