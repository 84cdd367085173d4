"""An object that ends the process is found by the marks of the attempts: it parks, and the others are loaded."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.data_set import TWAP_STATUS
from twap_pipeline.errors import SourceUnavailableError
from twap_pipeline.ingest.attempts import PROCESS_ENDED, AttemptMarks
from twap_pipeline.ingest.load import IngestResult, ingest_objects
from twap_pipeline.ingest.object_reader import ObjectReader
from twap_pipeline.ingest.plan import plan
from twap_pipeline.source.local import LocalDirectory
from twap_pipeline.storage.ingest_attempts import begin_attempts
from twap_pipeline.storage.ingest_log import read_ingest_log
from twap_pipeline_tests.factories import DAY, Bucket, event

POISON = "5.parquet"

Run = Callable[[], list[IngestResult]]


class ProcessEnd(BaseException):
    """Stands for the end of the process: nothing handles it, and nothing is cleaned up."""


@pytest.fixture
def run(engine: Engine, bucket: Bucket) -> Run:
    """Function that ingests what is pending of twelve objects."""
    for number in range(12):
        bucket.put(f"{number}.parquet", [event(number + 1)])
    store = LocalDirectory(bucket.directory)

    def ingest_pending() -> list[IngestResult]:
        with engine.connect() as connection:
            entries = read_ingest_log(connection)
        return ingest_objects(store, engine, plan(store.list_objects(), entries).pending, DAY)

    return ingest_pending


@pytest.fixture
def read_keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the objects that were decoded, in order."""
    keys: list[str] = []
    init = ObjectReader.__init__

    def record(reader: ObjectReader, ref: object, *args: object, **options: object) -> None:
        keys.append(ref.key)  # type: ignore[attr-defined]
        init(reader, ref, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectReader, "__init__", record)
    return keys


def fail_at_poison(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    infer_units = ObjectReader._infer_units

    def fail(reader: ObjectReader) -> dict[str, str | None]:
        if reader.ref.key == POISON:
            raise error
        return infer_units(reader)

    monkeypatch.setattr(ObjectReader, "_infer_units", fail)


def marks(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT s3_object_key FROM etl_s3_ingest_attempts ORDER BY 1")).scalars())


def loaded(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(DISTINCT s3_object_key) FROM twap_status")).scalar_one())


@pytest.mark.fault("F7")
def test_object_that_ends_the_process_parks(
    engine: Engine, run: Run, read_keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_at_poison(patch, ProcessEnd())
        patch.setattr(AttemptMarks, "_remove", lambda _: None)
        for _ in range(4):  # with others, and three times alone
            with pytest.raises(ProcessEnd):
                run()
        assert POISON in marks(engine)
        read_keys.clear()

        (result,) = [result for result in run() if result.error]

    assert (result.ref.key, result.error, result.failed_attempts) == (POISON, PROCESS_ENDED, 3)
    assert POISON not in read_keys
    assert loaded(engine) == 11
    assert marks(engine) == []
    assert run() == []


@pytest.mark.fault("F7")
def test_interrupted_objects_are_loaded_last_and_alone(
    engine: Engine, bucket: Bucket, run: Run, read_keys: list[str]
) -> None:
    listing = list(LocalDirectory(bucket.directory).list_objects())
    with engine.begin() as connection:
        begin_attempts(connection, TWAP_STATUS, [ref for ref in listing if ref.key in ("0.parquet", POISON)])

    results = run()

    assert [result.ref.key for result in results] == [ref.key for ref in listing]
    assert [result.error for result in results] == [None] * 12
    assert read_keys[-2:] == ["0.parquet", POISON]
    assert marks(engine) == []
    assert run() == []


@pytest.mark.fault("F7")
@pytest.mark.parametrize("error", [SourceUnavailableError("the store failed"), KeyboardInterrupt()], ids=type)
def test_stopped_run_leaves_no_marks(
    engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with monkeypatch.context() as patch:
        fail_at_poison(patch, error)
        with pytest.raises(type(error)):
            run()

    assert marks(engine) == []
    assert [result.error for result in run() if result.error] == []
    assert loaded(engine) == 12


@pytest.mark.fault("F7")
def test_memory_error_keeps_the_mark_of_its_object(engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that needs too much memory must not end every run, and the lack of memory is not hidden."""
    with monkeypatch.context() as patch:
        fail_at_poison(patch, MemoryError())
        with pytest.raises(MemoryError):
            run()

    assert POISON in marks(engine)


def test_mark_of_a_former_version_is_ignored(engine: Engine, bucket: Bucket, run: Run, read_keys: list[str]) -> None:
    with engine.begin() as connection:
        begin_attempts(connection, TWAP_STATUS, list(LocalDirectory(bucket.directory).list_objects()))
    bucket.put(POISON, [event(100)], hours=1)

    results = run()

    assert POISON in [ref.ref.key for ref in results]
    assert read_keys[0] == POISON
    assert marks(engine) == []
