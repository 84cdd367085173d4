"""An object's bytes are read as canonical rows, in batches and ahead; errors and warnings are those of the object."""

import errno
import json
import threading
from collections.abc import Iterator
from decimal import InvalidOperation
from unittest.mock import Mock

import polars as pl
import pyarrow as pa
import pytest

from twap_pipeline.domain.normalized_batch import WARNINGS_MAX
from twap_pipeline.errors import LoadCancelledError, ObjectInvalidError
from twap_pipeline.ingest.object_reader import ObjectReader, read_ahead
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline.storage.loading.row_writer import encode_batch
from twap_pipeline_tests.feed_factories import (
    EVENT_TEXT,
    KEY,
    WALLET,
    arrow_table,
    listed,
    nested,
    opened,
    raw_rows,
    write_parquet,
)
from twap_pipeline_tests.ingest.object_rows import MANY, open_reader, quarantined_rows, read_rows

pytestmark = pytest.mark.unit


# Objects whose rows are rejected for one reason


@pytest.mark.fault("V11")
@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("time", "20.08.2025 01:00", "time is not a time within the valid range of this object: 20.08.2025 01:00"),
        ("time", "1755651605.123456", "time is not a time within the valid range of this object: 1755651605.123456"),
        ("state_user", "bcb881aa", "state_user is not 0x and 40 hex digits: bcb881aa"),
        ("state_sz", "108,36", "state_sz is not a finite decimal number: 108,36"),
        ("state_minutes", "PT90M", "state_minutes is not a whole number of minutes: PT90M"),
    ],
)
@pytest.mark.parametrize("rejected", [3, 4])
def test_most_rows_rejected_for_one_reason_fail(column: str, value: str, reason: str, rejected: int) -> None:
    valid = raw_rows(1)[column][0]
    values = [str(valid)] * (4 - rejected) + [value] * rejected
    reader = open_reader(raw_rows(5, **{column: [*values, value]}, _metadata=[None] * 4 + [True]))

    with pytest.raises(ObjectInvalidError) as raised:
        list(reader.batches())

    assert raised.value.reason.startswith(
        f"{rejected} of 4 rows cannot be read for the same reason, the first one is row {4 - rejected}: {reason}; "
    )


@pytest.mark.fault("V11")
def test_half_of_the_rows_rejected_are_quarantined() -> None:
    assert quarantined_rows(raw_rows(4, time=["x", "x", EVENT_TEXT, EVENT_TEXT])).height == 2


@pytest.mark.fault("V11")
def test_rows_rejected_for_different_reasons_are_quarantined() -> None:
    raw = raw_rows(3, time=["x", EVENT_TEXT, EVENT_TEXT], twap_id=[1, None, 2])

    assert quarantined_rows(raw).height == 2


@pytest.mark.fault("V11")
def test_object_of_metadata_rows_only_is_read() -> None:
    assert read_rows(raw_rows(2, time="x", _metadata=True)).is_empty()


@pytest.mark.fault("V11")
def test_rejected_rows_are_counted_over_all_batches() -> None:
    """The first batch is sound: only the whole object shows that most rows are rejected."""
    times = pl.Series([EVENT_TEXT] * BATCH_ROWS + ["x"] * (BATCH_ROWS + 1))

    with pytest.raises(ObjectInvalidError, match=f"{BATCH_ROWS + 1} of {2 * BATCH_ROWS + 1} rows .* row {BATCH_ROWS}:"):
        list(open_reader(raw_rows(2 * BATCH_ROWS + 1, time=times)).batches())


# Batches


@pytest.mark.fault("F6")
def test_batches_contain_every_row_once() -> None:
    twap_ids = [None if number % 1_000 == 7 else number for number in range(MANY)]
    kept = pl.int_range(MANY, eager=True) % 500 == 3

    batches = list(open_reader(raw_rows(MANY, twap_id=twap_ids, _metadata=kept)).batches())

    numbers = [number for batch in batches for frame in (batch.rows, batch.rejected) for number in frame["row_number"]]
    assert len(batches) == 2
    assert len(numbers) + sum(batch.metadata_rows for batch in batches) == MANY
    assert sorted(numbers) == [number for number in range(MANY) if number % 500 != 3]


def test_object_read_twice_gives_the_same_batches() -> None:
    reader = open_reader(raw_rows(8, status="paused", twap_id=[None, *range(7)]))

    first = [(batch.rows.rows(), batch.rejected.rows()) for batch in reader.batches()]
    data_warnings = dict(reader.data_warnings)
    second = [(batch.rows.rows(), batch.rejected.rows()) for batch in reader.batches()]

    assert second == first
    assert dict(reader.data_warnings) == data_warnings == {"unknown status 'paused', stored verbatim": 7}


# Data warnings


@pytest.mark.fault("F8")
@pytest.mark.parametrize("batch_rows", [7, 1_000])
def test_many_unknown_statuses_give_few_warnings(batch_rows: int) -> None:
    """An object of 300,000 statuses took 100 seconds, and its data warnings exceeded the size of a jsonb value."""
    statuses = [f"s{number:04}" + "z" * 1_000 for number in range(500)]
    data = write_parquet(raw_rows(501, status=[*statuses, "finished"]))
    reader = ObjectReader(listed(data), opened(data), batch_rows)

    assert sum(batch.rows.height for batch in reader.batches()) == 501
    assert len(reader.data_warnings) == WARNINGS_MAX + 1
    assert sum(reader.data_warnings.values()) == 500
    assert reader.data_warnings["further unknown statuses, stored verbatim"] == 480
    assert f"unknown status 's0000{'z' * 195}'... (1005 characters), stored verbatim" in reader.data_warnings
    assert max(map(len, reader.data_warnings)) < 300


@pytest.mark.fault("F8")
def test_many_unknown_columns_give_few_warnings() -> None:
    reader = open_reader(raw_rows(2, **{f"x{number:03}": 1 for number in range(100)}))

    list(reader.batches())

    assert len(reader.data_warnings) == WARNINGS_MAX + 1
    assert reader.data_warnings["80 further unknown columns, only in raw_payload"] == 2


# Reading ahead


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_read_ahead_yields_all_items_in_order(count: int) -> None:
    assert list(read_ahead(range(count))) == list(range(count))


def test_read_ahead_yields_falsy_items() -> None:
    assert list(read_ahead([0, None, "", [], 1])) == [0, None, "", [], 1]


def test_read_ahead_computes_the_next_item_concurrently() -> None:
    started = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        started.set()
        yield 2

    ahead = read_ahead(items())

    assert next(ahead) == 1
    assert started.wait(timeout=30)
    assert list(ahead) == [2]


def test_read_ahead_raises_an_error_in_its_position() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ObjectInvalidError(KEY, "cannot be decoded")

    ahead = read_ahead(items())

    assert next(ahead) == 1
    with pytest.raises(ObjectInvalidError, match="cannot be decoded"):
        next(ahead)


def test_closing_read_ahead_ends_its_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(range(100))
    next(ahead)

    ahead.close()

    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("column", "excluded"),
    [
        *((column, range(2_000)) for column in ("twap_id", "state_user", "state_sz", "time", "_metadata")),
        *(("time", excluded) for excluded in (range(3_000, 3_005), range(5), range(2_600, 5_000))),
    ],
    ids=str,
)
def test_excluded_rows_may_be_anywhere_in_an_object(column: str, excluded: range) -> None:
    """An object is decoded in chunks of a thousand rows; a chunk without valid rows must not affect the others."""
    valid = {"_metadata": None, "state_sz": "1", "state_user": WALLET, "time": EVENT_TEXT, "twap_id": "7"}[column]
    other: object = True if column == "_metadata" else "junk"
    values = pl.Series([other if number in excluded else valid for number in range(5_000)])

    (batch,) = open_reader(raw_rows(5_000, **{column: values})).batches()

    excluded_rows = batch.metadata_rows if column == "_metadata" else batch.rejected.height
    assert (excluded_rows, batch.rows.height) == (len(excluded), 5_000 - len(excluded))


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    "error",
    [
        pl.exceptions.ComputeError("by the\n test"),
        pl.exceptions.PanicException("by the test"),
        pa.ArrowNotImplementedError("by the test"),
        pa.ArrowMemoryError("by the test"),
        ValueError("by the test"),
        OverflowError("by the test"),
        RecursionError("by the test"),
        InvalidOperation("by the test"),
        json.JSONDecodeError("by the test", "", 0),
        OSError("by the test"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("twap_pipeline.domain.normalize.normalize", "rows 0 to 7 cannot be computed"),
        ("twap_pipeline.ingest.object_reader.count_matches_by_unit", "cannot be read"),
        ("twap_pipeline.source.parquet._decoded_bytes", "cannot be decoded"),
        ("twap_pipeline.storage.loading.row_writer.copy_text", "cannot be encoded"),
    ],
)
def test_any_exception_fails_the_object_by_name(
    target: str, problem: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, Mock(side_effect=error))

    def read_and_encode() -> None:
        reader = open_reader(raw_rows(8))
        for batch in reader.batches():
            encode_batch(reader.ref, batch)

    with pytest.raises(ObjectInvalidError) as raised:
        read_and_encode()

    assert raised.value.key == KEY
    assert raised.value.reason.startswith(f"{problem}: {type(error).__name__}: by the test")


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.ENOSPC, "No space left on device"), LoadCancelledError(""), KeyboardInterrupt()],
)
def test_error_that_is_not_the_objects_is_raised_unchanged(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twap_pipeline.domain.normalize.normalize", Mock(side_effect=error))

    with pytest.raises(type(error)) as raised:
        list(open_reader(raw_rows(8)).batches())

    assert raised.value is error


@pytest.mark.fault("F7")
@pytest.mark.parametrize("column", ["sz", "user", "note"])
def test_field_with_extension_metadata_is_read_as_its_storage(column: str) -> None:
    """A nested field with an unknown extension name is read by polars as a type that it cannot cast."""
    raw = nested(raw_rows(2, state_note="x"))
    state = arrow_table(raw)["state"].combine_chunks()
    metadata = {"ARROW:extension:name": "vendor.type", "ARROW:extension:metadata": ""}
    fields = [field.with_metadata(metadata) if field.name == column else field for field in state.type]
    annotated = pa.StructArray.from_arrays(state.flatten(), fields=fields)

    assert read_rows(arrow_table(raw, state=annotated)).equals(read_rows(raw))
