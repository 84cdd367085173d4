"""The precedence rule: which of several events with one key is stored, in any order of loading."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline_tests.factories import Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import digest
from twap_pipeline_tests.mutants import expect_failure, last_writer_wins
from twap_pipeline_tests.storage.loaded_objects import load, scalar, statuses, truncate

# Duplicates of a key within an object


@pytest.mark.fault("V8")
def test_identical_rows_of_an_object_count_as_unchanged(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1), event(1)])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=2)


@pytest.mark.fault("V8")
def test_identical_rows_of_an_older_object_are_superseded(engine: Engine, bucket: Bucket) -> None:
    bucket.put("newer.parquet", [event(1, executed="2")], hours=1)
    bucket.put("older.parquet", [event(1), event(1), event(2), event(2)])

    _, result = load(engine, bucket, "newer.parquet", "older.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1, superseded=2)


@pytest.mark.fault("V9")
def test_terminal_status_wins_over_a_later_row(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, status="error: no margin"), event(1, status="activated")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, superseded=1)
    assert statuses(engine) == [("error", Decimal("0.0"))]


@pytest.mark.fault("V9")
@pytest.mark.parametrize("batch_rows", [1, BATCH_ROWS])
def test_unknown_status_ranks_between_active_and_terminal(engine: Engine, bucket: Bucket, batch_rows: int) -> None:
    """The rank in polars, within a batch, equals the rank in SQL, between batches."""
    bucket.put("a.parquet", [event(1, status=status) for status in ("paused", "activated")])
    bucket.put("b.parquet", [event(2, status=status) for status in ("finished", "paused")])

    load(engine, bucket, "a.parquet", "b.parquet", batch_rows=batch_rows)

    assert [statuses(engine, twap_id)[0][0] for twap_id in (1, 2)] == ["paused", "finished"]


@pytest.mark.fault("V9")
def test_later_row_wins_at_equal_rank(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, executed="1"), event(1, executed="2")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, superseded=1)
    assert statuses(engine) == [("activated", Decimal(2))]


NEW_VERSION = {
    ("2", "1"): RowCounts(unchanged=1, superseded=1),
    ("1", "2"): RowCounts(updated=1, superseded=1),
    ("1", "1"): RowCounts(unchanged=2),
    ("2", "2"): RowCounts(updated=1, unchanged=1),
    ("2", "3", "2"): RowCounts(updated=1, unchanged=1, superseded=1),
}
"""Executed sizes of the rows of an event in a new version → their outcome, if the stored row has the size 1."""


@pytest.mark.fault("V9")
def test_later_row_of_a_new_version_wins(engine: Engine, bucket: Bucket) -> None:
    """Each order is in an object of its own, so that the outcomes are counted separately."""
    keys = [f"{twap_id}.parquet" for twap_id in range(len(NEW_VERSION))]
    for twap_id, key in enumerate(keys):
        bucket.put(key, [event(twap_id, executed="1")])
    load(engine, bucket, *keys)
    for twap_id, executed in enumerate(NEW_VERSION):
        bucket.put(keys[twap_id], [event(twap_id, executed=size) for size in executed], hours=1)

    results = load(engine, bucket, *keys)

    assert [result.row_counts for result in results] == list(NEW_VERSION.values())
    for twap_id, executed in enumerate(NEW_VERSION):
        assert statuses(engine, twap_id) == [("activated", Decimal(executed[-1]))]


@pytest.mark.fault("V9")
def test_later_row_in_a_later_batch_wins(engine: Engine, bucket: Bucket) -> None:
    executed = {1: ("1", "2"), 2: ("1", "1"), 3: ("1", "2", "1")}
    for twap_id, sizes in executed.items():
        bucket.put(f"{twap_id}.parquet", [event(twap_id, executed=size) for size in sizes])

    results = load(engine, bucket, "1.parquet", "2.parquet", "3.parquet", batch_rows=1)

    assert [result.row_counts for result in results] == [
        RowCounts(inserted=1, superseded=1),
        RowCounts(inserted=1, unchanged=1),
        RowCounts(inserted=1, superseded=2),
    ]
    for twap_id, sizes in executed.items():
        assert statuses(engine, twap_id) == [("activated", Decimal(sizes[-1]))]


# Events of several objects


def test_unchanged_rows_are_neither_locked_nor_rewritten(engine: Engine, bucket: Bucket) -> None:
    rows = [event(number) for number in range(50)]
    bucket.put("a.parquet", rows)
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [*rows[:49], event(49, executed="1"), event(50)])
    tuples = text("SELECT twap_id, ctid::text, xmin::text, xmax::text FROM twap_status")
    with engine.connect() as connection:
        before = {row.twap_id: tuple(row) for row in connection.execute(tuples)}

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, updated=1, unchanged=49)
    with engine.connect() as connection:
        after = {row.twap_id: tuple(row) for row in connection.execute(tuples)}
    assert {twap_id for twap_id, row in after.items() if before.get(twap_id) != row} == {"49", "50"}


@pytest.mark.fault("V9")
@pytest.mark.parametrize("order", [(1, 3, 2), (1, 2, 3), (2, 1, 3), (2, 3)])
def test_reaffirmed_row_has_the_age_of_the_new_version(engine: Engine, bucket: Bucket, order: tuple[int, ...]) -> None:
    """A row that a new version of its object contains again competes with the LastModified of that version."""
    versions = {
        1: ("a.parquet", [event(1, executed="1")]),
        2: ("b.parquet", [event(1, executed="2")]),
        3: ("a.parquet", [event(1, executed="1"), event(2)]),
    }
    for hours in order:
        key, rows = versions[hours]
        bucket.put(key, rows, hours=hours)
        (result,) = load(engine, bucket, key)
        assert result.row_counts.total == len(rows)

    assert statuses(engine) == [("activated", Decimal(1))]
    with engine.connect() as connection:
        origins = connection.execute(text("SELECT s3_object_key, s3_last_modified FROM twap_status")).all()
        newest = connection.execute(text("SELECT max(last_modified) FROM etl_s3_ingest_log")).scalar_one()
    assert {tuple(row) for row in origins} == {("a.parquet", newest)}


@pytest.mark.usefixtures("both_table_forms")
def test_reaffirmed_row_keeps_its_inserted_at(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    inserted_at = scalar(engine, "SELECT inserted_at FROM twap_status")
    bucket.put("a.parquet", [event(1), event(2)], hours=1)

    load(engine, bucket, "a.parquet")

    assert scalar(engine, "SELECT inserted_at FROM twap_status WHERE twap_id = '1'") == inserted_at
    assert scalar(engine, "SELECT max(inserted_at) FROM twap_status") != inserted_at


CONFLICTING_EVENTS = {
    "b/older.parquet": (event(1, status="activated", executed="1"), 0),
    "a/newer.parquet": (event(1, status="activated", executed="2"), 1),
    "c/trigger.parquet": (event(1, status="waitingForTrigger", executed="3"), 5),
    "d/strange.parquet": (event(1, status="paused", executed="4"), 0),
    "e/ended.parquet": (event(1, status="finished", executed="5"), 0),
    "f/ended_too.parquet": (event(1, status="terminated", executed="6"), 0),
}
"""Six objects with one event each, all with one key. The last wins: terminal, equally old, and the greater key."""


@pytest.mark.fault("V9")
@pytest.mark.usefixtures("both_table_forms")
@pytest.mark.parametrize("number", [0, 675, 719])
def test_winner_does_not_depend_on_the_load_order(engine: Engine, bucket: Bucket, number: int) -> None:
    for key, (row, hours) in CONFLICTING_EVENTS.items():
        bucket.put(key, [row], hours=hours)

    results = load(engine, bucket, *list(itertools.permutations(CONFLICTING_EVENTS))[number])

    assert statuses(engine) == [("terminated", Decimal(6))]
    total = RowCounts.sum_of(result.row_counts for result in results)
    assert (total.total, total.inserted, total.inserted + total.updated + total.superseded) == (6, 1, 6)


@pytest.mark.fault("V9", control=True)
def test_last_writer_wins_mutant_is_detected(engine: Engine, bucket: Bucket) -> None:
    with expect_failure(last_writer_wins):
        test_winner_does_not_depend_on_the_load_order(engine, bucket, 675)


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
    keys = [f"{number}.parquet" for number in range(len(objects))]
    for key, (content, hours) in zip(keys, objects, strict=True):
        bucket.put(key, content, hours=hours)
    truncate(engine)
    load(engine, bucket, *keys)
    expected = digest(engine)
    truncate(engine)

    batch_rows = data.draw(st.sampled_from([1, 2, BATCH_ROWS]))
    results = load(engine, bucket, *data.draw(st.permutations([*keys, *keys])), batch_rows=batch_rows)

    assert digest(engine) == expected
    for result in results:
        assert result.skipped or result.row_counts.total == len(objects[keys.index(result.ref.key)][0])
