"""The invariants of the data as properties, with real parquet objects, real COPY and real concurrency.

The expected table is computed a second time here, in plain Python: the precedence rule without any SQL.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from dagster_aws.s3 import S3Resource
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from twap_pipeline.defs.partitions import daily_partitions
from twap_pipeline.domain.object_ref import partition_date
from twap_pipeline.domain.status import STATUS_RANK, UNKNOWN_STATUS_RANK
from twap_pipeline.ingest.audit import audit
from twap_pipeline.ingest.deep_audit import deep_audit, loaded_objects
from twap_pipeline.ingest.load import IngestResult, ingest_object
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.s3 import S3Bucket, S3Location
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline_tests.factories import NOON, WALLET, Bucket, event
from twap_pipeline_tests.feed_factories import raw_rows, write_parquet
from twap_pipeline_tests.hypothesis_profiles import examples
from twap_pipeline_tests.invariants import ingest_everything
from twap_pipeline_tests.s3_server import S3Server

Row = dict[str, object]

decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**30).map(
    lambda number: format(number.copy_abs(), "f")
)
rows = st.builds(
    event,
    st.integers(1, 3) | st.none(),
    status=st.sampled_from([*STATUS_RANK, "paused", "resumed", None]),
    minute=st.integers(0, 1),
    executed=decimals | st.sampled_from(["1", "1.0", "1.00", "1E-30", "", "NaN", "junk", "-0", "٣"]) | st.none(),
    wallet=st.sampled_from([WALLET, WALLET.upper().replace("0X", "0x"), "nobody"]),
)
metadata_rows = rows.map(lambda row: {**row, "_metadata": True})
contents = st.lists(rows.map(lambda row: {**row, "_metadata": None}) | metadata_rows, max_size=6)
objects_ = st.lists(
    st.tuples(contents.filter(lambda content: has_mostly_valid_rows(content)), st.integers(0, 2)),  # noqa: PLW0108
    min_size=1,
    max_size=4,
)


def is_readable(number: object) -> bool:
    """Return whether the table can store a size exactly."""
    if number is None:
        return True
    try:
        return Decimal(str(number)).is_finite() and str(number).isascii()
    except ArithmeticError:
        return False


def is_valid(row: Row) -> bool:
    return row["twap_id"] is not None and row["state_user"] != "nobody" and is_readable(row["state_executedSz"])


def has_mostly_valid_rows(content: Sequence[Row]) -> bool:
    """Return whether at most half of the events are invalid: otherwise the object can fail for one reason."""
    valid = [is_valid(row) for row in content if not row["_metadata"]]
    return valid.count(False) * 2 <= len(valid)


def winners(objects: Sequence[tuple[Sequence[Row], int]]) -> dict[tuple[str, datetime], tuple[object, str | None, int]]:
    """Return (id, ts) → (status, size as text, index of its object), by the precedence rule."""
    best: dict[tuple[str, datetime], tuple[tuple[int, int, int, int], Row]] = {}
    for index, (content, hours) in enumerate(objects):
        for row_number, row in enumerate(content):
            if row["_metadata"] or not is_valid(row):
                continue
            key = (str(row["twap_id"]), datetime.fromisoformat(str(row["time"])[:26]).replace(tzinfo=UTC))
            rank = STATUS_RANK.get(str(row["status"]), UNKNOWN_STATUS_RANK)
            precedence = (rank, hours, index, row_number)
            if key not in best or precedence > best[key][0]:
                best[key] = (precedence, row)
    return {
        key: (row["status"], exact(row["state_executedSz"]), index) for key, ((_, _, index, _), row) in best.items()
    }


def exact(number: object) -> str | None:
    return None if number is None else format_unsigned_zero(Decimal(str(number)))


def put(bucket: Bucket, objects: Sequence[tuple[Sequence[Row], int]]) -> None:
    bucket.clear()
    for index, (content, hours) in enumerate(objects):
        frame = pl.DataFrame([_ANY, *content], schema_overrides=_TYPES).slice(1)
        bucket.put_frame(f"{index}.parquet", frame, hours=hours)


_ANY: Row = {**event(1), "_metadata": None}
_TYPES = {"twap_id": pl.Int64, "_metadata": pl.Boolean, "status": pl.String, "state_executedSz": pl.String}


def truncate(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("TRUNCATE twap_status, twap_status_quarantine, etl_s3_ingest_log, etl_s3_ingest_history")
        )


@examples(25)
@given(objects=objects_, data=st.data())
def test_concurrent_loads_store_winners_and_count_all_rows(
    engine: Engine, bucket: Bucket, objects: list[tuple[list[Row], int]], data: st.DataObject
) -> None:
    put(bucket, objects)
    truncate(engine)
    store = LocalDirectory(bucket.directory)
    refs = data.draw(st.permutations([*store.list_objects()] * 2))
    barrier = threading.Barrier(3, timeout=60)

    def load(part: int) -> list[IngestResult]:
        barrier.wait()
        return [ingest_object(store, engine, ref, partition_date(ref)) for ref in refs[part::3]]

    with ThreadPoolExecutor(3) as threads:
        results = [result for part in threads.map(load, range(3)) for result in part]

    assert [result.error for result in results if result.error] == []
    assert stored(engine) == winners(objects)
    check_row_counts(engine, objects)
    assert audit(engine, store.list_objects(), NOON.date()) == []
    assert deep_audit(store, engine, list(store.list_objects())).findings == []


def stored(engine: Engine) -> dict[tuple[str, datetime], tuple[object, str | None, int]]:
    statement = "SELECT twap_id, ts, status, size_executed::text, s3_object_key FROM twap_status"
    with engine.connect() as connection:
        return {
            (twap_id, ts): (status, size, int(key.removesuffix(".parquet")))
            for twap_id, ts, status, size, key in connection.execute(text(statement))
        }


def check_row_counts(engine: Engine, objects: Sequence[tuple[Sequence[Row], int]]) -> None:
    with engine.connect() as connection:
        log = connection.execute(text("SELECT * FROM etl_s3_ingest_log")).all()
        quarantined: dict[str, set[int]] = defaultdict(set)
        for key, number in connection.execute(text("SELECT s3_object_key, row_number FROM twap_status_quarantine")):
            quarantined[key].add(number)
        stored_rows = connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one()
    entries = {entry.s3_object_key: entry for entry in log}
    for index, (content, _) in enumerate(objects):
        key = f"{index}.parquet"
        entry = entries[key]
        bad = {number for number, row in enumerate(content) if not row["_metadata"] and not is_valid(row)}
        assert entry.rows_read == len(content)
        assert entry.rows_metadata == sum(1 for row in content if row["_metadata"])
        assert (quarantined[key], entry.rows_quarantined) == (bad, len(bad))
    assert sum(entry.rows_inserted for entry in log) == stored_rows


@pytest.mark.fault("V3")
@examples(60)
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40), max_size=5))
def test_decimal_is_stored_digit_by_digit(engine: Engine, bucket: Bucket, numbers: list[Decimal]) -> None:
    put(
        bucket,
        [([{**event(twap_id, executed=str(number)), "_metadata": None} for twap_id, number in enumerate(numbers)], 0)],
    )
    truncate(engine)

    ingest_everything(LocalDirectory(bucket.directory), engine)

    with engine.connect() as connection:
        sizes = connection.execute(text("SELECT size_executed FROM twap_status ORDER BY twap_id::int")).scalars().all()
    assert [format(size, "f") for size in sizes] == [format_unsigned_zero(number) for number in numbers]


def format_unsigned_zero(number: Decimal) -> str:
    """Return every digit, without the sign of a zero. Decimal arithmetic would round."""
    return format(number if number else number.copy_abs(), "f")


# PostgreSQL cannot store NUL, and the test server cannot route a path with a line feed.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), min_size=1, max_size=60)


@pytest.mark.fault("D7")
@examples(4)
@given(st.lists(names, min_size=1, max_size=12, unique=True))
def test_any_s3_key_survives_load_partition_and_audit(engine: Engine, s3: S3Server, key_parts: list[str]) -> None:
    keys = sorted(f"raw/hourly/2025/08/20/12/k{part}z" for part in key_parts)
    s3.reset()
    client = s3.client()
    client.create_bucket(Bucket="twap")
    for twap_id, key in enumerate(keys):
        client.put_object(Bucket="twap", Key=key, Body=write_parquet(raw_rows(1, twap_id=twap_id)))
    truncate(engine)
    resource = S3Resource(endpoint_url=s3.url, region_name="us-east-1")
    store = S3Bucket(resource.get_client(), S3Location("twap", "raw/"))

    results = ingest_everything(store, engine)

    assert [result.error for result in results if result.error] == []
    assert sorted(result.ref.key for result in results) == keys
    with engine.connect() as connection:
        assert sorted(read_ingest_log(connection)) == keys
        statement = "SELECT s3_object_key FROM twap_status ORDER BY twap_id::int"
        assert list(connection.execute(text(statement)).scalars()) == keys
    assert daily_partitions(NOON.date()).has_partition_key(str(results[0].day))
    assert audit(engine, store.list_objects(), NOON.date()) == []
    refs = loaded_objects(engine, store.list_objects(), NOON.date())
    assert sorted(ref.key for ref in refs) == keys
    assert deep_audit(store, engine, refs).findings == []
