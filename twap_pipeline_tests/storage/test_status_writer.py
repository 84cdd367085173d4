"""The two write paths, the precedence rule, the row counts, and convergence in any order of loading."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Row, text

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline.storage.ingest_log import requeue
from twap_pipeline.storage.loading import status_writer
from twap_pipeline.storage.loading.merge import merge_staged
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.dagster_client import until
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import digest
from twap_pipeline_tests.mutants import expect_failure, last_writer_wins

DATED = "hourly/2025/08/20/12/part.parquet"


def load(engine: Engine, bucket: Bucket, *keys: str, batch_rows: int = BATCH_ROWS) -> list[IngestResult]:
    store = LocalDirectory(bucket.directory)
    refs = {ref.key: ref for ref in store.list_objects()}
    return [ingest_object(store, engine, refs[key], bucket.day, batch_rows=batch_rows) for key in keys]


def truncate(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE twap_status, etl_s3_ingest_log, etl_s3_ingest_history, twap_status_quarantine")
        )


def log_entry(engine: Engine) -> Row[Any]:
    with engine.connect() as connection:
        return connection.execute(text("SELECT * FROM etl_s3_ingest_log")).one()


def scalar(engine: Engine, statement: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def statuses(engine: Engine, twap_id: int = 1) -> list[tuple[str | None, Decimal | None]]:
    with engine.connect() as connection:
        return [(row.status, row.size_executed) for row in order_history(connection, str(twap_id))]


# Versions of an object


def test_object_with_new_events_is_inserted(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30, executed="10")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=2)
    assert statuses(engine) == [("activated", Decimal("0.0")), ("finished", Decimal(10))]


def test_object_loaded_twice_is_skipped(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    before = digest(engine)

    (again,) = load(engine, bucket, "a.parquet")

    assert again.skipped
    assert digest(engine) == before


@pytest.mark.fault("D2")
def test_overwritten_object_is_loaded_again(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    first_etag = log_entry(engine).etag
    bucket.put("a.parquet", [event(1), event(1, status="finished", minute=30)], hours=1)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1)
    with engine.connect() as connection:
        past = connection.execute(text("SELECT kind, etag, rows_inserted FROM etl_s3_ingest_history")).one()
    assert past == ("replaced_version", first_etag, 1)


def test_replaced_version_leaves_the_log_alone(engine: Engine, bucket: Bucket) -> None:
    """A loader that listed the object before it was overwritten loads nothing and records no failure."""
    bucket.put("a.parquet", [event(1)])
    store = LocalDirectory(bucket.directory)
    (old,) = store.list_objects()
    bucket.put("a.parquet", [event(1), event(2)], hours=1)
    load(engine, bucket, "a.parquet")

    late = ingest_object(store, engine, old, bucket.day)

    assert late.skipped
    assert log_entry(engine).error_text is None


def test_same_bytes_with_new_etag_are_loaded_again(engine: Engine, bucket: Bucket) -> None:
    rows = [event(1), event(1, executed="1"), event(2, wallet="nobody")]
    bucket.put(DATED, rows)
    (first,) = load(engine, bucket, DATED)
    etag = log_entry(engine).etag
    bucket.put(DATED, rows, hours=1)

    (again,) = load(engine, bucket, DATED)

    assert first.row_counts == RowCounts(inserted=1, superseded=1, quarantined=1)
    assert again.row_counts == RowCounts(unchanged=1, superseded=1, quarantined=1)
    entry, uploaded_again = log_entry(engine), datetime(2025, 8, 21, 13, tzinfo=UTC)
    assert (entry.rows_inserted, entry.error_text, entry.last_modified) == (0, None, uploaded_again)
    assert entry.etag != etag
    assert scalar(engine, "SELECT s3_last_modified FROM twap_status") == uploaded_again
    with engine.connect() as connection:
        past = connection.execute(text("SELECT kind, etag, rows_inserted FROM etl_s3_ingest_history")).one()
    assert past == ("replaced_version", etag, 1)
    assert load(engine, bucket, DATED)[0].skipped
    assert audit(engine, LocalDirectory(bucket.directory).list_objects(), bucket.day) == []


def test_same_bytes_are_loaded_again_after_a_requeue(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM twap_status"))
        requeue(connection, ["a.parquet"], "its rows are gone")
    bucket.put("a.parquet", [event(1)], hours=1)

    (again,) = load(engine, bucket, "a.parquet")

    assert again.row_counts == RowCounts(inserted=1)


@pytest.mark.fault("D1")
def test_version_with_older_last_modified_is_loaded(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)], hours=5)
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(2)], hours=0)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1)


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
@pytest.mark.parametrize("batch_rows", [1, 2, BATCH_ROWS])
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
def test_later_row_of_a_new_version_wins(
    engine: Engine, bucket: Bucket, executed: tuple[str, ...], row_counts: RowCounts
) -> None:
    bucket.put("a.parquet", [event(1, executed="1")])
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1, executed=size) for size in executed], hours=1)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == row_counts
    assert statuses(engine) == [("activated", Decimal(executed[-1]))]


@pytest.mark.fault("V9")
@pytest.mark.parametrize(
    ("executed", "row_counts"),
    [
        (("1", "2"), RowCounts(inserted=1, superseded=1)),
        (("1", "1"), RowCounts(inserted=1, unchanged=1)),
        (("1", "2", "1"), RowCounts(inserted=1, superseded=2)),
    ],
)
def test_later_row_in_a_later_batch_wins(
    engine: Engine, bucket: Bucket, executed: tuple[str, ...], row_counts: RowCounts
) -> None:
    bucket.put("a.parquet", [event(1, executed=size) for size in executed])

    (result,) = load(engine, bucket, "a.parquet", batch_rows=1)

    assert result.row_counts == row_counts
    assert statuses(engine) == [("activated", Decimal(executed[-1]))]


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
@pytest.mark.parametrize("number", range(0, 720, 45))
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


# The two write paths


def test_only_batches_with_stored_keys_are_merged(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    merges: list[RowCounts] = []
    bucket.put("other.parquet", [event(3)])
    load(engine, bucket, "other.parquet")
    bucket.put("a.parquet", [event(number) for number in range(12)], hours=1)

    def record_merge(*arguments: Any) -> RowCounts:
        merges.append(merge_staged(*arguments))
        return merges[-1]

    monkeypatch.setattr(status_writer, "merge_staged", record_merge)
    (result,) = load(engine, bucket, "a.parquet", batch_rows=2)

    # The batch after a merged one is merged too; it contains only new keys, so COPY writes the four that follow.
    assert merges == [RowCounts(inserted=1, updated=1), RowCounts(inserted=2)]
    assert result.row_counts == RowCounts(inserted=11, updated=1)


def test_merge_uses_the_primary_key_with_stale_statistics(engine: Engine, bucket: Bucket) -> None:
    """An ANALYZE during a first load leaves reltuples = 0; a plan that trusts it scans the table once per row."""
    bucket.put("a.parquet", [event(number) for number in range(20_000)])
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(number, executed="1") for number in range(20_000)], hours=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pg_class SET reltuples = 0 WHERE relname LIKE 'twap_status%'"))
        connection.execute(text("ALTER TABLE twap_status SET (autovacuum_enabled = false)"))
        scans = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'twap_status'")
        before = int(connection.execute(scans).scalar_one())
        results = merge_in(connection, bucket)
        rows_scanned = int(connection.execute(scans).scalar_one()) - before

    assert results == RowCounts(updated=20_000)
    assert rows_scanned == 0


def merge_in(connection: Connection, bucket: Bucket) -> RowCounts:
    """Load a.parquet as a new version in the caller's transaction."""
    (ref,) = LocalDirectory(bucket.directory).list_objects()
    with (bucket.directory / ref.key).open("rb") as file:
        batches = [status_writer.encode_batch(ref, batch) for batch in ObjectReader(ref, file).batches()]
    return status_writer.load_rows(connection, ref, batches, mode=status_writer.LoadMode.RELOAD)


@pytest.fixture
def overlapping(engine: Engine, bucket: Bucket) -> Bucket:
    """Events 1 to 3 are loaded from an older object; newer.parquet contains other versions of them, and event 4."""
    bucket.put("older.parquet", [event(number, executed="1") for number in (1, 2, 3)])
    load(engine, bucket, "older.parquet")
    bucket.put("newer.parquet", [event(number, executed="2") for number in (1, 2, 3, 4)], hours=1)
    return bucket


def executed_sizes(engine: Engine) -> list[Decimal | None]:
    with engine.connect() as connection:
        return [order_history(connection, str(number))[0].size_executed for number in range(1, 5)]


def test_newer_object_updates_and_inserts(engine: Engine, overlapping: Bucket) -> None:
    (result,) = load(engine, overlapping, "newer.parquet")

    assert result.row_counts == RowCounts(inserted=1, updated=3)
    assert executed_sizes(engine) == [2, 2, 2, 2]


def load_while(engine: Engine, bucket: Bucket, change: Callable[[Connection], object]) -> IngestResult:
    """Load newer.parquet while another transaction has an uncommitted change, which commits once the load waits."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with engine.connect() as other, ThreadPoolExecutor(1) as thread:
        change(other)
        loading = thread.submit(load, engine, bucket, "newer.parquet")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as monitor:
            until(lambda: monitor.execute(waiting).scalar_one(), 20, "the load waits for the other transaction")
        other.commit()
        (result,) = loading.result(20)
    return result


def test_row_updated_concurrently_keeps_its_precedence(engine: Engine, overlapping: Bucket) -> None:
    statement = "UPDATE twap_status SET size_executed = 9, s3_last_modified = '2030-01-01Z' WHERE twap_id = '2'"

    result = load_while(engine, overlapping, lambda other: other.execute(text(statement)))

    assert result.row_counts == RowCounts(inserted=1, updated=2, superseded=1)
    assert executed_sizes(engine) == [2, 9, 2, 2]


def test_row_inserted_concurrently_is_updated(engine: Engine, overlapping: Bucket) -> None:
    statement = """
    INSERT INTO twap_status (twap_id, wallet, ts, status, size_executed, raw_payload, s3_object_key, s3_last_modified)
    SELECT '4', wallet, ts, status, 7, raw_payload, 'between.parquet', s3_last_modified
    FROM twap_status WHERE twap_id = '1'
    """

    result = load_while(engine, overlapping, lambda other: other.execute(text(statement)))

    assert result.row_counts == RowCounts(updated=4)
    assert executed_sizes(engine) == [2, 2, 2, 2]


# Values


@pytest.mark.fault("V3")
def test_numbers_are_stored_digit_by_digit(engine: Engine, bucket: Bucket) -> None:
    numbers = ["0.1", "-3.50", "1E-30", "9" * 60, f"0.{'1' * 60}", "100000000000000000000.000000000000000000001"]
    bucket.put("a.parquet", [event(twap_id, executed=number) for twap_id, number in enumerate(numbers, start=1)])

    load(engine, bucket, "a.parquet")

    for twap_id, number in enumerate(numbers, start=1):
        ((_, stored),) = statuses(engine, twap_id)
        assert stored is not None
        assert stored.as_tuple() == Decimal(format(Decimal(number), "f")).as_tuple()


@pytest.mark.fault("V7")
@pytest.mark.parametrize("path", ["copy", "merge"])
def test_special_characters_are_stored_exactly(engine: Engine, bucket: Bucket, path: str) -> None:
    asset = 'tab\t line\n return\r back\\slash "quote" \\N \x0b \x0c \x1c \x85 \u2028 é 漢 🙂'
    bucket.put("a.parquet", [event(number, asset=asset) for number in (1, 2)])
    if path == "merge":
        bucket.put("older.parquet", [event(1)], hours=-1)
        load(engine, bucket, "older.parquet")

    load(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT asset, raw_payload ->> 'state_coin' FROM twap_status")).all()
    assert [tuple(row) for row in rows] == [(asset, asset)] * 2


@pytest.mark.fault("V7")
def test_row_with_a_nul_character_is_quarantined(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2, asset="A\0B")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, quarantined=1)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT s3_object_key, row_number, reason FROM twap_status_quarantine")).one()
    assert row[:2] == ("a.parquet", 1)
    assert "state_coin" in row.reason
    assert "NUL" in row.reason


@pytest.mark.fault("V7")
def test_rows_with_nul_characters_are_readable_by_sql(engine: Engine, bucket: Bucket) -> None:
    rows = [
        event(1) | {"note": "a\0b", "tags": ["\0"]},
        event(2, asset="A\0B") | {"note": r"a\u0000b", "tags": [r"\u0000"]},
        event(3, status="x\0") | {"note": "\\\0", "tags": [""]},
        event(4) | {"note": "plain", "tags": []},
    ]
    bucket.put("a.parquet", rows)

    load(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        loaded = connection.execute(
            text("SELECT raw_payload ->> 'note', raw_payload::jsonb #>> '{tags,0}' FROM twap_status ORDER BY twap_id")
        ).all()
        quarantined = connection.execute(
            text(
                "SELECT raw_row ->> 'note', raw_row ->> 'state_coin', raw_row::jsonb ->> 'status', reason "
                "FROM twap_status_quarantine ORDER BY row_number"
            )
        ).all()
    assert [tuple(row) for row in loaded] == [(r"a\u0000b", r"\u0000"), ("plain", None)]
    assert [tuple(row)[:3] for row in quarantined] == [
        (r"a\\u0000b", r"A\u0000B", "activated"),
        (r"\\\u0000", "HYPE", r"x\u0000"),
    ]
    assert [row.reason.split(" ")[0] for row in quarantined] == ["state_coin", "status"]


def test_new_version_replaces_the_quarantined_rows(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2, wallet="nobody")])
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(2)], hours=1)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1)
    assert scalar(engine, "SELECT count(*) FROM twap_status_quarantine") == 0


def test_ingest_log_rejects_counts_that_do_not_add_up(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)])
    load(engine, bucket, "a.parquet")

    with engine.connect() as connection, pytest.raises(Exception, match="row_counts_sum") as raised:
        connection.execute(text("UPDATE etl_s3_ingest_log SET rows_inserted = rows_inserted + 1"))
    assert isinstance(raised.value.__cause__, psycopg.errors.CheckViolation)


@pytest.mark.fault("F2")
def test_object_without_rows_is_loaded(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1)], keep=0)

    (result,) = load(engine, bucket, "a.parquet")

    assert (result.error, result.row_counts) == (None, RowCounts())
    assert log_entry(engine).rows_read == 0


def test_duplicate_across_many_batches_is_superseded(engine: Engine, bucket: Bucket) -> None:
    many = [event(twap_id) for twap_id in range(1, 120_001)]
    bucket.put("a.parquet", [*many, event(1, status="finished")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=120_000, superseded=1)
    assert statuses(engine, 1) == [("finished", Decimal("0.0"))]


def test_time_and_wallet_are_canonical(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, wallet=WALLET.upper().replace("X", "x"))])

    load(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        (row,) = order_history(connection, "1")
    assert row.wallet == WALLET
    assert row.ts == datetime(2025, 8, 20, 12, tzinfo=UTC) + timedelta(microseconds=123456)


@pytest.mark.fault("R1")
def test_unreadable_object_is_recorded_with_its_attempts(engine: Engine, bucket: Bucket) -> None:
    (bucket.directory / "bad.parquet").write_bytes(b"not parquet")

    results = [load(engine, bucket, "bad.parquet")[0] for _ in range(3)]

    assert [result.failed_attempts for result in results] == [1, 2, 3]
    entry = log_entry(engine)
    assert (entry.rows_ingested, entry.failed_attempts) == (None, 3)
    assert "parquet" in entry.error_text
    assert {result.error for result in results} == {entry.error_text}


def test_source_directory_is_not_changed(engine: Engine, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.parquet", [event(1)])

    load(engine, bucket, "a.parquet")

    assert [path.name for path in bucket.directory.iterdir()] == ["a.parquet"]
    assert bucket.directory.is_relative_to(tmp_path)
