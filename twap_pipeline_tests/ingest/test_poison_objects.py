"""One object that no library can read or write fails by name, and every other object of the day is loaded."""

import os
from collections.abc import Callable
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.ingest.load import ingest_objects
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.loading.row_writer import data_errors
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.mutants import expect_failure, only_known_exceptions

POISON = "20.parquet"
_COPY = "twap_pipeline.storage.loading.row_writer._copy_new_rows"
_RECORD = "twap_pipeline.storage.ingest_log.record_loaded"
Errors = dict[str, str]


def load_with_poison(
    engine: Engine, bucket: Bucket, count: int = 4, change: Callable[[ObjectRef], ObjectRef] = lambda ref: ref
) -> Errors:
    """Load sound objects around `POISON`, which is listed as ``change`` returns it; return key → error of the log."""
    for number in range(count):
        bucket.put(f"{number:02}.parquet" if number < 20 else f"{number + 1}.parquet", [event(number + 1)])
    store = LocalDirectory(bucket.directory)
    refs = [change(ref) if ref.key == POISON else ref for ref in store.list_objects()]

    ingest_objects(store, engine, refs, DAY)

    with engine.connect() as connection:
        loaded = connection.execute(text("SELECT count(DISTINCT s3_object_key) FROM twap_status")).scalar_one()
        log = connection.execute(text("SELECT s3_object_key, error_text FROM etl_s3_ingest_log WHERE error_text > ''"))
        errors = {row.s3_object_key: row.error_text for row in log}
    assert loaded == count, errors
    return errors


@pytest.fixture
def poison_is_refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Function that makes the reading of `POISON` raise an exception."""
    init = ObjectReader._infer_units

    def patch(error: BaseException) -> None:
        def infer_units(reader: ObjectReader) -> dict[str, str | None]:
            if reader.ref.key == POISON:
                raise error
            return init(reader)

        monkeypatch.setattr(ObjectReader, "_infer_units", infer_units)

    return patch


@pytest.mark.fault("F7", "R1")
def test_unforeseen_exception_fails_one_object_alone(
    engine: Engine, bucket: Bucket, poison_is_refused: Callable[[BaseException], None]
) -> None:
    bucket.put(POISON, [event(1_000)])
    poison_is_refused(ZeroDivisionError("by the test"))

    try:
        errors = load_with_poison(engine, bucket, 24)
    except ZeroDivisionError:
        pytest.fail("the exception ended the run")

    assert errors == {POISON: "cannot be read: ZeroDivisionError: by the test"}


@pytest.mark.fault("F7", control=True)
def test_only_known_exceptions_mutant_is_detected(
    engine: Engine, bucket: Bucket, poison_is_refused: Callable[[BaseException], None]
) -> None:
    with expect_failure(only_known_exceptions):
        test_unforeseen_exception_fails_one_object_alone(engine, bucket, poison_is_refused)


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    ("target", "error"),
    [
        (_COPY, psycopg.errors.ProgramLimitExceeded("by the test")),
        (_COPY, psycopg.DataError("by the test")),
        (_RECORD, psycopg.errors.CharacterNotInRepertoire("by the test")),
    ],
    ids=str,
)
def test_value_that_postgresql_refuses_fails_its_object(
    engine: Engine, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, target: str, error: psycopg.Error
) -> None:
    bucket.put(POISON, [event(1_000)])
    write = resolve_name(target.replace(".row_writer.", ".row_writer:").replace(".record", ":record"))

    def fail(*args: Any, **options: Any) -> object:
        if POISON in repr(args):
            raise error
        return write(*args, **options)

    monkeypatch.setattr(target, fail)

    reason = f"PostgreSQL cannot store one of its rows: {type(error).__name__}: by the test"
    assert load_with_poison(engine, bucket) == {POISON: reason}


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    ("statement", "is_data_error"),
    [
        ("SELECT CAST('1e200000' AS numeric)", True),
        ('SELECT CAST(\'{"a": "\\u0000"}\' AS jsonb)', True),
        ("SELECT repeat('a', 1073741824)", True),
        ("SELECT * FROM missing", False),
        ("SELECT pg_terminate_backend(pg_backend_pid())", False),
    ],
)
def test_only_errors_of_values_are_the_objects(engine: Engine, statement: str, is_data_error: bool) -> None:
    expected = ObjectInvalidError if is_data_error else DBAPIError

    with engine.connect() as connection, pytest.raises(expected), data_errors("key"):
        connection.execute(text(statement))


@pytest.mark.fault("F7")
def test_listing_entry_that_is_not_valid_fails_alone(engine: Engine, bucket: Bucket) -> None:
    bucket.put(POISON, [event(1_000)])

    errors = load_with_poison(engine, bucket, change=lambda ref: replace(ref, key="a\0b.parquet", size_bytes=10**19))

    key_reason = "the key contains NUL or bytes that are not UTF-8: rename it"
    assert errors == {r"a\x00b.parquet": f"{key_reason}; a size of 10000000000000000000 bytes is not valid"}


@pytest.mark.fault("F7", "D7")
def test_file_name_that_is_not_utf8_fails_alone(engine: Engine, bucket: Bucket) -> None:
    bucket.put("good.parquet", [event(1_000)])
    (bucket.directory / "good.parquet").rename(bucket.directory / os.fsdecode(b"caf\xe9.parquet"))

    assert load_with_poison(engine, bucket) == {
        r"caf\udce9.parquet": "the key contains NUL or bytes that are not UTF-8: rename it"
    }
