"""The invariants of the data as properties, through real parquet, real COPY and real concurrency.

What the table ought to hold is worked out here a second time, in a few lines of plain Python that know rule V9 and
nothing of SQL; the pipeline is held against that.
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
from twap_pipeline.source.base import S3Location
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.source.s3 import S3Bucket
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
objects_ = st.lists(
    st.tuples(
        st.lists(rows.map(lambda row: {**row, "_metadata": None}) | metadata_rows, max_size=6), st.integers(0, 2)
    ),
    min_size=1,
    max_size=4,
)


def readable(number: object) -> bool:
    """Return whether a size is one that the table can hold exactly."""
    if number is None:
        return True
    try:
        return Decimal(str(number)).is_finite() and str(number).isascii()
    except ArithmeticError:
        return False


def sound(row: Row) -> bool:
    return row["twap_id"] is not None and row["state_user"] != "nobody" and readable(row["state_executedSz"])


def winners(objects: Sequence[tuple[Sequence[Row], int]]) -> dict[tuple[str, datetime], tuple[object, str | None, int]]:
    """Return (id, ts) → (status, size as text, place of its object) by rule V9."""
    best: dict[tuple[str, datetime], tuple[tuple[int, int, int, int], Row]] = {}
    for place, (content, hours) in enumerate(objects):
        for number, row in enumerate(content):
            if row["_metadata"] or not sound(row):
                continue
            key = (str(row["twap_id"]), datetime.fromisoformat(str(row["time"])[:26]).replace(tzinfo=UTC))
            claim = (STATUS_RANK.get(str(row["status"]), UNKNOWN_STATUS_RANK), hours, place, number)
            if key not in best or claim > best[key][0]:
                best[key] = (claim, row)
    return {key: (row["status"], exact(row["state_executedSz"]), claim[2]) for key, (claim, row) in best.items()}


def exact(number: object) -> str | None:
    return None if number is None else without_sign_of_zero(Decimal(str(number)))


def put(bucket: Bucket, objects: Sequence[tuple[Sequence[Row], int]]) -> None:
    bucket.clear()
    for place, (content, hours) in enumerate(objects):
        frame = pl.DataFrame([_ANY, *content], schema_overrides=_TYPES).slice(1)
        bucket.put_frame(f"{place}.parquet", frame, hours=hours)


_ANY: Row = {**event(1), "_metadata": None}
_TYPES = {"twap_id": pl.Int64, "_metadata": pl.Boolean, "status": pl.String, "state_executedSz": pl.String}


def empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE twap_status, twap_status_quarantine, etl_s3_ingest_log"))


@examples(25)
@given(objects=objects_, data=st.data())
def test_loaders_side_by_side_in_any_order_end_with_the_winners_and_every_row_accounted_for(
    engine: Engine, bucket: Bucket, objects: list[tuple[list[Row], int]], data: st.DataObject
) -> None:
    put(bucket, objects)
    empty(engine)
    store = LocalDirectory(bucket.directory)
    refs = data.draw(st.permutations([*store.list_objects()] * 2))
    together = threading.Barrier(3, timeout=60)

    def load(part: int) -> list[IngestResult]:
        together.wait()
        return [ingest_object(store, engine, ref, partition_date(ref)) for ref in refs[part::3]]

    with ThreadPoolExecutor(3) as threads:
        done = [one for part in threads.map(load, range(3)) for one in part]

    assert [one.error for one in done if one.error] == []
    assert stored(engine) == winners(objects)
    check_accounts(engine, objects)
    assert audit(engine, store.list_objects(), NOON.date()) == []
    assert deep_audit(store, engine, list(store.list_objects())).found == []


def stored(engine: Engine) -> dict[tuple[str, datetime], tuple[object, str | None, int]]:
    statement = "SELECT twap_id, ts, status, size_executed::text, s3_object_key FROM twap_status"
    with engine.connect() as connection:
        return {
            (twap_id, ts): (status, size, int(key.removesuffix(".parquet")))
            for twap_id, ts, status, size, key in connection.execute(text(statement))
        }


def check_accounts(engine: Engine, objects: Sequence[tuple[Sequence[Row], int]]) -> None:
    with engine.connect() as connection:
        ledger = read_ingest_log(connection)
        rejected: dict[str, set[int]] = defaultdict(set)
        for key, number in connection.execute(text("SELECT s3_object_key, row_number FROM twap_status_quarantine")):
            rejected[key].add(number)
        held = connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one()
    for place, (content, _) in enumerate(objects):
        key = f"{place}.parquet"
        row_counts = ledger[key].row_counts
        bad = {number for number, row in enumerate(content) if not row["_metadata"] and not sound(row)}
        assert row_counts.total == len(content)
        assert row_counts.metadata == sum(1 for row in content if row["_metadata"])
        assert (rejected[key], row_counts.quarantined) == (bad, len(bad))
    assert sum(entry.row_counts.inserted for entry in ledger.values()) == held


@pytest.mark.fault("V3")
@examples(60)
@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40), max_size=5))
def test_a_decimal_goes_in_through_and_out_to_the_digit(engine: Engine, bucket: Bucket, numbers: list[Decimal]) -> None:
    put(
        bucket,
        [([{**event(place, executed=str(number)), "_metadata": None} for place, number in enumerate(numbers)], 0)],
    )
    empty(engine)

    ingest_everything(LocalDirectory(bucket.directory), engine)

    with engine.connect() as connection:
        found = connection.execute(text("SELECT size_executed FROM twap_status ORDER BY twap_id::int")).scalars().all()
    assert [format(number, "f") for number in found] == [without_sign_of_zero(number) for number in numbers]


def without_sign_of_zero(number: Decimal) -> str:
    """Return every digit, and none of the rounding that arithmetic with decimals would bring."""
    return format(number if number else number.copy_abs(), "f")


# PostgreSQL holds no NUL, and the test server's router knows no path with a line feed.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), min_size=1, max_size=60)


@pytest.mark.fault("D7")
@examples(4)
@given(st.lists(names, min_size=1, max_size=12, unique=True))
def test_any_key_of_S3_goes_round_through_listing_ledger_partition_and_audit(
    engine: Engine, s3: S3Server, given_names: list[str]
) -> None:
    keys = sorted(f"raw/hourly/2025/08/20/12/k{name}z" for name in given_names)
    s3.reset()
    client = s3.client()
    client.create_bucket(Bucket="twap")
    for place, key in enumerate(keys):
        client.put_object(Bucket="twap", Key=key, Body=write_parquet(raw_rows(1, twap_id=place)))
    empty(engine)
    resource = S3Resource(endpoint_url=s3.url, region_name="us-east-1")
    store = S3Bucket(resource.get_client(), S3Location("twap", "raw/"))

    done = ingest_everything(store, engine)

    assert [one.error for one in done if one.error] == []
    assert sorted(one.ref.key for one in done) == keys
    with engine.connect() as connection:
        assert sorted(read_ingest_log(connection)) == keys
        statement = "SELECT s3_object_key FROM twap_status ORDER BY twap_id::int"
        assert list(connection.execute(text(statement)).scalars()) == keys
    assert daily_partitions(NOON.date()).has_partition_key(str(done[0].day))
    assert audit(engine, store.list_objects(), NOON.date()) == []
    refs = loaded_objects(engine, store.list_objects(), NOON.date())
    assert sorted(ref.key for ref in refs) == keys
    assert deep_audit(store, engine, refs).found == []
