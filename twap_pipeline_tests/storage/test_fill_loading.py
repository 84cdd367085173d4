"""Fills are loaded exactly once by the loader of statuses, and the two data sets do not mix."""

from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_FILLS
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_log import read_ingest_log, requeue
from twap_pipeline_tests.factories import Bucket
from twap_pipeline_tests.fill_factories import fill, fill_frame
from twap_pipeline_tests.storage.loaded_objects import merge_new_version, scalar

KEY = "date=2025-08-20/fills.parquet"
LATER_KEY = "date=2025-08-20/late.parquet"


def put(bucket: Bucket, *rows: dict[str, object], key: str = KEY, hours: float = 0) -> None:
    bucket.put_frame(key, fill_frame(*rows), hours=hours)


def load(engine: Engine, bucket: Bucket, *keys: str) -> list[IngestResult]:
    store = LocalDirectory(bucket.directory)
    refs = {ref.key: ref for ref in store.list_objects()}
    return [ingest_object(store, engine, refs[key], bucket.day, data_set=TWAP_FILLS) for key in keys or (KEY,)]


def stored(engine: Engine) -> list[tuple[str, Decimal, str]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT trade_id, size, s3_object_key FROM twap_fills ORDER BY trade_id"))
        return [(row.trade_id, row.size, row.s3_object_key) for row in rows]


def content(engine: Engine) -> list[tuple[object, ...]]:
    """Return every row of the tables that a load of fills writes, except the log: it counts fetched bytes."""
    tables = ("twap_fills", "twap_fills_quarantine", "etl_s3_ingest_history")
    with engine.connect() as connection:
        return [tuple(row) for table in tables for row in connection.execute(text(f"TABLE {table}"))]


def findings(engine: Engine, bucket: Bucket) -> list[object]:
    return list(audit(engine, LocalDirectory(bucket.directory).list_objects(), bucket.day, data_set=TWAP_FILLS))


def test_fills_of_an_object_are_loaded_and_counted(engine: Engine, bucket: Bucket) -> None:
    put(bucket, fill(1), fill(2, twap_id=None), fill(3, size="0"), fill(4), fill(4))

    (result,) = load(engine, bucket)

    assert result.row_counts == RowCounts(inserted=2, unchanged=1, quarantined=1, metadata=1)
    assert stored(engine) == [("1", Decimal(1), KEY), ("4", Decimal(1), KEY)]
    reason = "size is not a finite decimal number above 0: 0.0000000000"
    assert scalar(engine, "SELECT reason FROM twap_fills_quarantine") == reason
    assert scalar(engine, "SELECT other_fields ->> 'tx_hash' FROM twap_fills LIMIT 1") == "0x" + "0" * 64
    assert findings(engine, bucket) == []


def test_fills_loaded_twice_stay_as_they_are(engine: Engine, bucket: Bucket) -> None:
    put(bucket, fill(1), fill(2))
    load(engine, bucket)
    before = content(engine)

    (again,) = load(engine, bucket)

    assert again.skipped
    assert content(engine) == before


def test_overwritten_object_of_fills_is_loaded_again(engine: Engine, bucket: Bucket) -> None:
    put(bucket, fill(1), fill(2))
    load(engine, bucket)
    put(bucket, fill(1), fill(2, size="3"), fill(3), hours=1)

    (result,) = load(engine, bucket)

    assert result.row_counts == RowCounts(inserted=1, updated=1, unchanged=1)
    assert [size for _, size, _ in stored(engine)] == [1, 3, 1]
    assert findings(engine, bucket) == []


def test_requeued_fills_are_loaded_again_unchanged(engine: Engine, bucket: Bucket) -> None:
    put(bucket, fill(1), fill(2))
    load(engine, bucket)
    with engine.begin() as connection:
        requeue(connection, [KEY], "because", data_set=TWAP_FILLS)

    (result,) = load(engine, bucket)

    assert result.row_counts == RowCounts(unchanged=2)
    assert findings(engine, bucket) == []


@pytest.mark.parametrize("keys", [(KEY, LATER_KEY), (LATER_KEY, KEY)])
def test_fill_in_two_objects_is_that_of_the_newer(engine: Engine, bucket: Bucket, keys: tuple[str, str]) -> None:
    put(bucket, fill(1), fill(2))
    put(bucket, fill(2, size="7"), fill(3), key=LATER_KEY, hours=5)

    load(engine, bucket, *keys)

    assert stored(engine) == [("1", Decimal(1), KEY), ("2", Decimal(7), LATER_KEY), ("3", Decimal(1), LATER_KEY)]
    assert findings(engine, bucket) == []


def test_last_of_two_rows_with_one_key_is_stored(engine: Engine, bucket: Bucket) -> None:
    put(bucket, fill(1, size="1"), fill(1, size="2"))

    (result,) = load(engine, bucket)

    assert result.row_counts == RowCounts(inserted=1, superseded=1)
    assert [size for _, size, _ in stored(engine)] == [2]


def test_failed_load_of_fills_writes_nothing(engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, fill(1))
    before = content(engine)

    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("no log entry")

    with monkeypatch.context() as patch:
        patch.setattr(ingest_log, "record_loaded", fail)
        with pytest.raises(RuntimeError, match="no log entry"):
            load(engine, bucket)
    assert content(engine) == before == []
    assert scalar(engine, "SELECT count(*) FROM etl_s3_ingest_log") == 0

    (result,) = load(engine, bucket)

    assert result.row_counts == RowCounts(inserted=1)


def test_object_of_statuses_is_no_object_of_fills(engine: Engine, bucket: Bucket) -> None:
    bucket.put(KEY, [], keep=0)

    (result,) = load(engine, bucket)

    assert result.error is not None
    assert result.error.startswith("required columns ['trade_id', 'address', 'timestamp', 'coin', 'side', 'price',")
    with engine.connect() as connection:
        assert read_ingest_log(connection) == {}
        assert read_ingest_log(connection, data_set=TWAP_FILLS)[KEY].failed_attempts == 1


def test_merge_of_fills_uses_the_key_with_stale_statistics(engine: Engine, bucket: Bucket) -> None:
    put(bucket, *(fill(number) for number in range(5_000)))
    load(engine, bucket)
    put(bucket, *(fill(number, size="2") for number in range(5_000)), hours=1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE pg_class SET reltuples = 0 WHERE relname LIKE 'twap_fills%'"))
        connection.execute(text("ALTER TABLE twap_fills SET (autovacuum_enabled = false)"))
        scans = text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'twap_fills'")
        before = int(connection.execute(scans).scalar_one())
        results = merge_new_version(connection, bucket, TWAP_FILLS)
        rows_scanned = int(connection.execute(scans).scalar_one()) - before

    assert results == RowCounts(updated=5_000)
    assert rows_scanned == 0
