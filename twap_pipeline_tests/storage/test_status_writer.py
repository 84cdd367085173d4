"""The merge under rule V9, the row_counts, and that the table does not depend on how objects arrive."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, Row, text

from twap_pipeline.domain.normalize import NormalizedBatch
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest import object_reader
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.parquet import ParquetObject
from twap_pipeline.storage.ingest_log import requeue
from twap_pipeline.storage.loading.existing_rows import Found, look_up
from twap_pipeline.storage.loading.status_writer import CopyBatch, encode_batch
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import digest
from twap_pipeline_tests.mutants import expect_failure, last_writer_wins


def ingest_all(engine: Engine, bucket: Bucket, *keys: str) -> list[IngestResult]:
    store = LocalDirectory(bucket.directory)
    refs = {ref.key: ref for ref in store.list_objects()}
    return [ingest_object(store, engine, refs[key], bucket.day) for key in keys]


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE twap_status, etl_s3_ingest_log, twap_status_quarantine"))


def ledger_of(engine: Engine) -> Row[Any]:
    with engine.connect() as connection:
        return connection.execute(text("SELECT * FROM etl_s3_ingest_log")).one()


DATED = "hourly/2025/08/20/12/part.parquet"


@contextmanager
def portions_of(rows: int) -> Iterator[None]:
    """Read objects in batches of so many rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParquetObject.batches, "__defaults__", (None, rows))
        patch.setattr(object_reader, "BATCH_ROWS", rows)
        yield


def statuses(engine: Engine, twap_id: int = 1) -> list[tuple[str | None, Decimal | None]]:
    with engine.connect() as connection:
        return [(found.status, found.size_executed) for found in order_history(connection, str(twap_id))]


def test_an_object_of_new_events_is_inserted(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30, executed="10")])

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=2)
    assert statuses(engine) == [("activated", Decimal("0.0")), ("finished", Decimal(10))]


def test_the_same_object_again_is_skipped_and_changes_nothing(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest_all(engine, bucket, "a.parquet")
    before = digest(engine)

    (again,) = ingest_all(engine, bucket, "a.parquet")

    assert again.skipped
    assert digest(engine) == before


@pytest.mark.fault("D2")
def test_new_bytes_under_the_same_key_are_taken_and_both_versions_are_traceable(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest_all(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30)], hours=1)

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, unchanged=1)
    with engine.connect() as connection:
        etag, previous = connection.execute(text("SELECT etag, previous_versions FROM etl_s3_ingest_log")).one()
    assert len(previous) == 1
    assert previous[0]["etag"] != etag
    assert previous[0]["rows_inserted"] == 1


def test_a_loader_that_comes_late_with_a_replaced_version_leaves_the_ledger_alone(
    engine: Engine, bucket: Bucket
) -> None:
    bucket.put("a.parquet", [event(1)])
    store = LocalDirectory(bucket.directory)
    (old,) = store.list_objects()
    bucket.put("a.parquet", [event(1), event(2)], hours=1)
    ingest_all(engine, bucket, "a.parquet")

    late = ingest_object(store, engine, old, bucket.day)

    assert late.skipped
    with engine.connect() as connection:
        assert connection.execute(text("SELECT error_text FROM etl_s3_ingest_log")).scalar_one() is None


def test_the_very_bytes_under_a_new_etag_are_known_again_and_nothing_but_the_ledger_is_written(
    engine: Engine, bucket: Bucket
) -> None:
    rows = [event(1), event(1, executed="1"), event(2, wallet="nobody")]
    bucket.put(DATED, rows)
    (first,) = ingest_all(engine, bucket, DATED)
    before, etag = digest(engine), ledger_of(engine).etag
    bucket.put(DATED, rows, hours=1)

    (again,) = ingest_all(engine, bucket, DATED)

    assert first.row_counts == RowCounts(inserted=1, superseded=1, quarantined=1)
    assert again.row_counts == RowCounts(unchanged=1, superseded=1, quarantined=1)
    assert digest(engine) == before
    entry = ledger_of(engine)
    assert (entry.rows_inserted, entry.error_text) == (1, None)
    assert entry.etag != etag
    assert entry.previous_versions == [{"etag": etag, "sent_again_at": "2025-08-21T13:00:00+00:00"}]
    assert ingest_all(engine, bucket, DATED)[0].skipped
    told = audit(engine, LocalDirectory(bucket.directory).list_objects(), bucket.day)
    assert [(one.code, one.is_informational) for one in told] == [("sent again", True)]


def test_the_very_bytes_are_read_again_where_their_rows_were_given_up(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest_all(engine, bucket, "a.parquet")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_status"))
        requeue(connection, ["a.parquet"], "its rows are gone")
    bucket.put("a.parquet", [event(1)], hours=1)

    (again,) = ingest_all(engine, bucket, "a.parquet")

    assert again.row_counts == RowCounts(inserted=1)


@pytest.mark.fault("D1")
def test_a_version_with_an_older_time_than_the_loaded_one_is_taken_all_the_same(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)], hours=5)
    ingest_all(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(2)], hours=0)

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, unchanged=1)


@pytest.mark.fault("V8")
def test_identical_rows_in_one_file_are_one_row_and_counted(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1), event(1)])

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, unchanged=2)


@pytest.mark.fault("V9")
def test_within_one_file_the_terminal_event_wins_over_a_later_row(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, status="error: no margin"), event(1, status="activated")])

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, superseded=1)
    assert statuses(engine) == [("error", Decimal("0.0"))]


@pytest.mark.fault("V9")
def test_within_one_file_the_later_row_wins_at_equal_rank(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, executed="1"), event(1, executed="2")])

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, superseded=1)
    assert statuses(engine) == [("activated", Decimal(2))]


@pytest.mark.fault("V9")
@pytest.mark.parametrize(
    ("executed", "row_counts"),
    [
        (("2", "1"), RowCounts(unchanged=1, superseded=1)),
        (("1", "2"), RowCounts(updated=1, superseded=1)),
        (("1", "1"), RowCounts(unchanged=2)),
        (("2", "2"), RowCounts(updated=1, unchanged=1)),
        (("2", "3", "2"), RowCounts(updated=1, unchanged=1, superseded=1)),
    ],
)
def test_the_later_of_an_objects_rows_wins_though_an_earlier_one_is_stored(
    engine: Engine, bucket: Bucket, executed: tuple[str, ...], row_counts: RowCounts
) -> None:
    bucket.put("a.parquet", [event(1, executed="1")])
    ingest_all(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1, executed=size) for size in executed], hours=1)

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == row_counts
    assert statuses(engine) == [("activated", Decimal(executed[-1]))]


def test_rows_that_stay_as_they_are_get_no_new_tuple_and_no_lock(engine: Engine, bucket: Bucket) -> None:
    rows = [event(number) for number in range(50)]
    bucket.put("a.parquet", rows)
    ingest_all(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [*rows[:49], event(49, executed="1"), event(50)])
    versions = text("SELECT twap_id, ctid::text, xmin::text, xmax::text FROM twap_status")
    with engine.connect() as connection:
        before = {row.twap_id: tuple(row) for row in connection.execute(versions)}

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, updated=1, unchanged=49)
    with engine.connect() as connection:
        after = {row.twap_id: tuple(row) for row in connection.execute(versions)}
    assert {twap_id for twap_id, row in after.items() if before.get(twap_id) != row} == {"49", "50"}


@pytest.mark.fault("V9")
@pytest.mark.parametrize("order", [(1, 3, 2), (1, 2, 3), (2, 1, 3), (2, 3)])
def test_what_a_newer_version_of_an_object_says_again_counts_as_said_then(
    engine: Engine, bucket: Bucket, order: tuple[int, ...]
) -> None:
    versions = {
        1: ("a.parquet", [event(1, executed="1")]),
        2: ("b.parquet", [event(1, executed="2")]),
        3: ("a.parquet", [event(1, executed="1"), event(2)]),
    }
    for hours in order:
        key, rows = versions[hours]
        bucket.put(key, rows, hours=hours)
        (done,) = ingest_all(engine, bucket, key)
        assert done.row_counts.total == len(rows)

    assert statuses(engine) == [("activated", Decimal(1))]
    with engine.connect() as connection:
        claimed = connection.execute(text("SELECT s3_object_key, s3_last_modified FROM twap_status")).all()
        newest = connection.execute(text("SELECT max(last_modified) FROM etl_s3_ingest_log")).scalar_one()
    assert {tuple(row) for row in claimed} == {("a.parquet", newest)}


RIVALS = {
    "b/older.parquet": (event(1, status="activated", executed="1"), 0),
    "a/newer.parquet": (event(1, status="activated", executed="2"), 1),
    "c/trigger.parquet": (event(1, status="waitingForTrigger", executed="3"), 5),
    "d/strange.parquet": (event(1, status="paused", executed="4"), 0),
    "e/ended.parquet": (event(1, status="finished", executed="5"), 0),
    "f/ended_too.parquet": (event(1, status="terminated", executed="6"), 0),
}
"""One event as six objects tell it; the last wins: of two ends at one LastModified, the greater key."""


@pytest.mark.fault("V9")
@pytest.mark.parametrize("number", range(0, 720, 45))
def test_one_event_wins_in_every_order_of_arrival(engine: Engine, bucket: Bucket, number: int) -> None:
    for key, (row, hours) in RIVALS.items():
        bucket.put(key, [row], hours=hours)

    done = ingest_all(engine, bucket, *list(itertools.permutations(RIVALS))[number])

    assert statuses(engine) == [("terminated", Decimal(6))]
    total = RowCounts.sum_of(one.row_counts for one in done)
    assert (total.total, total.inserted, total.inserted + total.updated + total.superseded) == (6, 1, 6)


@pytest.mark.fault("V9", control=True)
def test_where_the_last_writer_wins_the_order_of_arrival_decides_on_broken_build(
    engine: Engine, bucket: Bucket
) -> None:
    with expect_failure(last_writer_wins):
        test_one_event_wins_in_every_order_of_arrival(engine, bucket, 675)


@examples(25)
@given(data=st.data())
def test_any_order_and_repetition_gives_the_same_table(engine: Engine, bucket: Bucket, data: st.DataObject) -> None:
    bucket.clear()
    rows = st.builds(
        event,
        st.integers(1, 4),
        status=st.sampled_from(["activated", "finished", "paused", "waitingForTrigger"]),
        minute=st.integers(0, 2),
        executed=st.sampled_from(["0", "1", "1.0", "2.50"]),
    )
    objects = data.draw(st.lists(st.tuples(st.lists(rows, max_size=5), st.integers(0, 2)), min_size=1, max_size=4))
    keys = [f"{place}.parquet" for place in range(len(objects))]
    for key, (content, hours) in zip(keys, objects, strict=True):
        bucket.put(key, content, hours=hours)
    empty(engine)
    ingest_all(engine, bucket, *keys)
    expected = digest(engine)
    empty(engine)

    with portions_of(data.draw(st.sampled_from([1, 2, 20_000]))):
        done = ingest_all(engine, bucket, *data.draw(st.permutations([*keys, *keys])))

    assert digest(engine) == expected
    for one in done:
        assert one.skipped or one.row_counts.total == len(objects[keys.index(one.ref.key)][0])


@pytest.mark.fault("V9")
@pytest.mark.parametrize(
    ("executed", "row_counts"),
    [
        (("1", "2"), RowCounts(inserted=1, superseded=1)),
        (("1", "1"), RowCounts(inserted=1, unchanged=1)),
        (("1", "2", "1"), RowCounts(inserted=1, superseded=2)),
    ],
)
def test_of_an_objects_rows_the_later_wins_also_from_one_portion_to_the_next(
    engine: Engine, bucket: Bucket, executed: tuple[str, ...], row_counts: RowCounts
) -> None:
    bucket.put("a.parquet", [event(1, executed=size) for size in executed])

    with portions_of(1):
        (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == row_counts
    assert statuses(engine) == [("activated", Decimal(executed[-1]))]


def test_only_portions_with_an_event_that_is_there_already_take_the_longer_way(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, ...]] = []
    sought: list[int] = []
    bucket.put("other.parquet", [event(3)])
    ingest_all(engine, bucket, "other.parquet")
    bucket.put("a.parquet", [event(number) for number in range(12)], hours=1)

    def make(ref: ObjectRef, batch: NormalizedBatch) -> CopyBatch:
        made.append(tuple(map(int, batch.rows["twap_id"])))
        return encode_batch(ref, batch)

    def seek(*arguments: Any) -> Found:
        sought.append(len(made) - 1)
        return look_up(*arguments)

    monkeypatch.setattr("twap_pipeline.ingest.load.encode_batch", make)
    monkeypatch.setattr("twap_pipeline.storage.loading.status_writer.look_up", seek)
    monkeypatch.setattr("twap_pipeline.ingest.load.read_ahead", lambda made: made)
    with portions_of(2):
        (done,) = ingest_all(engine, bucket, "a.parquet")

    assert made == [(number, number + 1) for number in range(0, 12, 2)]
    assert sought == [1, 2]
    assert done.row_counts == RowCounts(inserted=11, updated=1)


@pytest.mark.fault("V3")
def test_numbers_come_back_digit_for_digit(engine: Engine, bucket: Bucket) -> None:
    numbers = ["0.1", "-3.50", "1E-30", "9" * 60, f"0.{'1' * 60}", "100000000000000000000.000000000000000000001"]
    bucket.put("a.parquet", [event(place, executed=number) for place, number in enumerate(numbers, start=1)])

    ingest_all(engine, bucket, "a.parquet")

    for place, number in enumerate(numbers, start=1):
        ((_, stored),) = statuses(engine, place)
        assert stored is not None
        assert stored.as_tuple() == Decimal(format(Decimal(number), "f")).as_tuple()


@pytest.mark.fault("V7")
def test_text_with_every_nuisance_is_stored_exactly(engine: Engine, bucket: Bucket) -> None:
    asset = 'tab\t line\n return\r back\\slash "quote" \\N é 漢 🙂'
    bucket.put("a.parquet", [event(1, asset=asset)])

    ingest_all(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        stored, payload = connection.execute(text("SELECT asset, raw_payload ->> 'state_coin' FROM twap_status")).one()
    assert (stored, payload) == (asset, asset)


@pytest.mark.fault("V7")
def test_a_nul_character_is_quarantined_with_its_row(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2, asset="A\0B")])

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, quarantined=1)
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT s3_object_key, row_number, reason FROM twap_status_quarantine")).one()
    assert kept[:2] == ("a.parquet", 1)
    assert "state_coin holds a NUL character" in kept[2]


def test_a_new_version_replaces_the_quarantine_of_the_old(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2, wallet="nobody")])
    ingest_all(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(2)], hours=1)

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=1, unchanged=1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM twap_status_quarantine")).scalar_one() == 0


def test_the_ledger_refuses_counts_that_do_not_add_up(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    ingest_all(engine, bucket, "a.parquet")

    with engine.connect() as connection, pytest.raises(Exception, match="rows_accounted"):
        connection.execute(text("UPDATE etl_s3_ingest_log SET rows_inserted = rows_inserted + 1"))


@pytest.mark.fault("F2")
def test_an_object_without_rows_is_loaded_with_none(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)], keep=0)

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert (done.error, done.row_counts) == (None, RowCounts())


def test_many_portions_and_a_collision_across_them(engine: Engine, bucket: Bucket) -> None:
    many = [event(twap_id) for twap_id in range(1, 120_001)]
    bucket.put("a.parquet", [*many, event(1, status="finished")])

    (done,) = ingest_all(engine, bucket, "a.parquet")

    assert done.row_counts == RowCounts(inserted=120_000, superseded=1)
    assert statuses(engine, 1) == [("finished", Decimal("0.0"))]


def test_times_and_wallet_are_canonical(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, wallet=WALLET.upper().replace("X", "x"))])

    ingest_all(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        (found,) = order_history(connection, "1")
    assert found.wallet == WALLET
    assert found.ts == datetime(2025, 8, 20, 12, tzinfo=UTC) + timedelta(microseconds=123456)


@pytest.mark.fault("R1")
def test_a_poisoned_object_is_recorded_and_parked_after_its_attempts(engine: Engine, bucket: Bucket) -> None:
    (bucket.directory / "bad.parquet").write_bytes(b"not parquet")

    attempts = [ingest_all(engine, bucket, "bad.parquet")[0] for _ in range(3)]

    assert [one.failed_attempts for one in attempts] == [1, 2, 3]
    assert "is no readable parquet file" in (attempts[0].error or "")
    with engine.connect() as connection:
        rows, error = connection.execute(text("SELECT rows_ingested, error_text FROM etl_s3_ingest_log")).one()
    assert rows is None
    assert "is no readable parquet file" in error


def test_nothing_is_left_in_the_folder_of_the_source(engine: Engine, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.parquet", [event(1)])

    ingest_all(engine, bucket, "a.parquet")

    assert [path.name for path in bucket.directory.iterdir()] == ["a.parquet"]
    assert bucket.directory.is_relative_to(tmp_path)
