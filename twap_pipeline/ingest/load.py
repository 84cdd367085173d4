"""Loads objects into the database exactly once: an object's rows and its log entry commit in one transaction.

Put here the load of one object and of the objects of a day. Retries belong in `retry`, threads in `concurrency`, SQL in
`storage`.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from itertools import count

from sqlalchemy import Engine

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.errors import (
    ObjectChangedError,
    ObjectError,
    ObjectGoneError,
    ObjectInvalidError,
    ObjectRefusedError,
)
from twap_pipeline.failpoints import failpoint
from twap_pipeline.ingest.attempts import PROCESS_ENDED, AttemptMarks
from twap_pipeline.ingest.concurrency import DEFAULT_MAX_MEMORY_BYTES, LoadLimits, bounded_map
from twap_pipeline.ingest.fetch import FetchResult, fetch_latest
from twap_pipeline.ingest.object_reader import ObjectReader, read_ahead
from twap_pipeline.ingest.phases import PhaseTimer
from twap_pipeline.ingest.refusals import Refusal, RefusalStreak
from twap_pipeline.ingest.retry import explain_lock_timeout, transaction, with_retries
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.source.identity import source_identity
from twap_pipeline.source.object_file import ObjectFile
from twap_pipeline.source.parquet import BATCH_ROWS
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_attempts import remove_attempts
from twap_pipeline.storage.ingest_log import Attempt, IngestLogEntry
from twap_pipeline.storage.loading.row_writer import CopyBatch, data_errors, encode_batch, load_rows
from twap_pipeline.storage.long_statements import correct_empty_statistics

log = logging.getLogger(__name__)
"""Logs one line per object with the fields ``object_key`` and ``run_id``: INFO if it is loaded, else WARNING."""

_BatchFactory = Callable[[], Generator[CopyBatch, None, None]]
"""Returns an object's rows from the start, at each call: a transaction may have to be repeated."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The result of one object.

    Args:
        ref: The object, in the version that was read.
        day: The UTC day that the log entry names.
        row_counts: Its rows by outcome; all zero if the load failed or was skipped.
        error: Why the load failed; None if the object is loaded.
        failed_attempts: Failed attempts at this version, including this one; 0 for a refusal.
        refusal: The refusal, if the store refused the GET. The caller of `ingest_object` records it.
        skipped: Whether this version, or a newer one, was loaded already: by another run, or the response to this
            COMMIT was lost.
        seconds: Phase → duration: ``reading`` from the store, ``decoding``, ``writing``. For a large object ``writing``
            includes decoding, which is concurrent. No phase includes the time spent waiting for a slot.
    """

    ref: ObjectRef
    day: date
    row_counts: RowCounts = field(default_factory=RowCounts)
    error: str | None = None
    failed_attempts: int = 0
    refusal: Refusal | None = None
    skipped: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


def ingest_objects(
    store: ObjectStore,
    engine: Engine,
    refs: Iterable[ObjectRef],
    day: date,
    *,
    run_id: str | None = None,
    connections: int = 1,
    max_memory_bytes: int = DEFAULT_MAX_MEMORY_BYTES,
    refusals: RefusalStreak | None = None,
    data_set: DataSet = TWAP_STATUS,
) -> list[IngestResult]:
    """Load the objects of a day and return their results in the same order.

    The next objects are fetched and decoded while others are written. An object that cannot be read is recorded as
    failed, and the load of the others continues. Objects that a process was reading when it ended are loaded last, one
    at a time.

    As many objects as ``connections`` are written at once, each in its own transaction. ``max_memory_bytes``, for the
    whole process, decides the size of the batches. A caller that loads several days passes the ``refusals`` of its run,
    and records the last ones.

    Raises:
        SourceError: The store as a whole refused or failed.
        LocalResourceError: This host lacks a resource.
        OperationalError: The database failed, also after retries.
    """
    limits = LoadLimits(connections, max_memory_bytes)
    load = partial(ingest_object, store, engine, day=day, run_id=run_id, limits=limits, data_set=data_set)
    refs, marks = list(refs), AttemptMarks(engine, data_set)
    streak = RefusalStreak() if refusals is None else refusals
    results: dict[str, IngestResult] = {}
    with marks.removed_at_end():
        interrupted = marks.find_interrupted(refs)
        others = [ref for ref in refs if ref.key not in interrupted]
        with closing(bounded_map(load, marks.mark(others), limits)) as loads:
            for result in loads:
                _count_refusal(engine, streak, result)
                results[result.ref.key] = result
        for ref in [ref for ref in refs if ref.key in interrupted]:
            attempt = Attempt(day, source_identity(store.url), ref.size_bytes, run_id, data_set=data_set)
            if interrupted[ref.key] and (ended := _record_process_end(engine, ref, attempt)):
                result = ended
                _log_result(result, run_id)
            else:
                result = load(*marks.mark([ref], is_alone=True))
            _count_refusal(engine, streak, result)
            results[ref.key] = result
    if refusals is None:
        record_refusals(engine, streak.end())
    with engine.begin() as connection:
        correct_empty_statistics(connection)
    return [results[ref.key] for ref in refs]


def _count_refusal(engine: Engine, streak: RefusalStreak, result: IngestResult) -> None:
    """Add a refusal to the streak; record the refusals of the streak as failed if the object was read.

    Raises:
        SourceAccessError: The store refused too many objects in a row.
    """
    if result.refusal is not None:
        streak.add(result.refusal)
    else:
        record_refusals(engine, streak.end())


def record_refusals(engine: Engine, refusals: Iterable[Refusal]) -> None:
    """Record refused objects as failed, one attempt each."""
    for refusal in refusals:
        _record_failure(engine, refusal.ref, refusal.attempt, refusal.error)


def _record_process_end(engine: Engine, ref: ObjectRef, attempt: Attempt) -> IngestResult | None:
    """Count a failed attempt of an object at which a process ended; return its result if it is parked or loaded now."""
    with explain_lock_timeout(ref.key):
        result = with_retries(lambda: _record_failure(engine, ref, attempt, ObjectInvalidError(ref.key, PROCESS_ENDED)))
    return result if result.failed_attempts >= ingest_log.ATTEMPTS_MAX or result.skipped else None


def ingest_object(
    store: ObjectStore,
    engine: Engine,
    ref: ObjectRef,
    day: date,
    *,
    run_id: str | None = None,
    limits: LoadLimits | None = None,
    batch_rows: int = BATCH_ROWS,
    data_set: DataSet = TWAP_STATUS,
) -> IngestResult:
    """Load one object: fetch and decode it, then write its rows and its log entry in one transaction.

    An object that cannot be read is recorded as failed, and no error is raised. A refused object is not recorded. If
    the version was overwritten, the latest version is loaded instead. Concurrent loads share ``limits``, which can
    reduce ``batch_rows``, the maximum number of rows that are decoded and written at once.

    Raises:
        SourceError: The store as a whole refused or failed.
        OperationalError: The database failed, also after retries.
        LoadCancelledError: The load was cancelled through ``limits``.
    """
    limits = limits or LoadLimits(1)
    timer = PhaseTimer()
    source_url = source_identity(store.url)
    with ObjectFile(checkpoint=limits.raise_if_cancelled) as file:
        try:
            if ref.invalid is not None:
                raise ObjectInvalidError(ref.key, ref.invalid)
            with timer.measure("reading"):
                fetched = fetch_latest(store, ref, file)
                ref = fetched.ref
            failpoint("downloaded")
            attempt = Attempt(day, source_url, file.bytes_written, run_id, data_set=data_set)
            with limits.decode_slot():
                with timer.measure("decoding"):
                    max_rows = min(batch_rows, limits.batch_rows)
                    reader = ObjectReader(ref, file, max_rows, limits.batch_bytes, day=day, data_set=data_set)
                    batches = _batch_factory(reader, limits)

                repetitions = count()

                def write_in_slot() -> IngestResult:
                    is_repetition = next(repetitions) > 0
                    with limits.write_slot(), timer.measure("writing"):
                        return _write(
                            engine, fetched, reader, batches, attempt, timer=timer, is_repetition=is_repetition
                        )

                with explain_lock_timeout(ref.key):
                    result = with_retries(write_in_slot)
        except ObjectError as error:
            attempt = Attempt(day, source_url, file.bytes_written, run_id, timer.seconds, data_set)
            if isinstance(error, ObjectRefusedError):
                result = IngestResult(ref, day, error=error.reason, refusal=Refusal(ref, attempt, error))
            else:
                with limits.write_slot():
                    result = _record_failure(engine, ref, attempt, error)
    result = replace(result, seconds=timer.seconds)
    _log_result(result, run_id)
    return result


def _log_result(result: IngestResult, run_id: str | None) -> None:
    fields: dict[str, object] = {"object_key": result.ref.key, "run_id": run_id}
    if result.error is None:
        seconds = {f"{phase}_seconds": round(duration, 3) for phase, duration in result.seconds.items()}
        outcome = "object skipped: it is already loaded" if result.skipped else "object loaded"
        log.info(outcome, extra={**fields, "rows": result.row_counts.total, **seconds})
        return
    outcome = "object refused" if result.refusal else "object failed"
    if result.failed_attempts >= ingest_log.ATTEMPTS_MAX:
        outcome = "object parked"
    log.warning(outcome, extra={**fields, "failed_attempts": result.failed_attempts, "error": result.error})


def _record_failure(engine: Engine, ref: ObjectRef, attempt: Attempt, error: ObjectError) -> IngestResult:
    with transaction(engine) as connection:
        entry = ingest_log.lock_object(connection, attempt.data_set, ref.key)
        remove_attempts(connection, attempt.data_set, [ref.key])
        if entry is not None and _is_loaded_elsewhere(entry, ref, error):
            ingest_log.record_skipped(connection, ref, attempt)
            return IngestResult(ref, attempt.day, skipped=True)
        failed_attempts = ingest_log.record_failed(connection, ref, attempt, error.reason)
    return IngestResult(ref, attempt.day, error=error.reason, failed_attempts=failed_attempts)


def _is_loaded_elsewhere(entry: IngestLogEntry, ref: ObjectRef, error: ObjectError) -> bool:
    """Return whether another run loaded this version, or the version that replaced it since our listing."""
    replaced = isinstance(error, ObjectChangedError | ObjectGoneError) and entry.error_text is None
    return entry.is_loaded(ref) or (replaced and entry.last_modified >= ref.last_modified)


def _batch_factory(reader: ObjectReader, limits: LoadLimits) -> _BatchFactory:
    """Return a factory of the object's encoded rows.

    A small object is encoded here, once. A large object is encoded at each call, one batch ahead of its consumer.
    """

    def encoded() -> Iterator[CopyBatch]:
        for batch in reader.batches():
            limits.raise_if_cancelled()
            yield encode_batch(reader.ref, batch, reader.data_set)

    if reader.is_small:
        batches = list(encoded())
        return lambda: (batch for batch in batches)
    return lambda: read_ahead(encoded())


def _write(
    engine: Engine,
    fetched: FetchResult,
    reader: ObjectReader,
    batches: _BatchFactory,
    attempt: Attempt,
    *,
    timer: PhaseTimer,
    is_repetition: bool,
) -> IngestResult:
    """Write the object's rows and its log entry, unless the log records this version as loaded.

    In a repetition, the entry may be this attempt's own: its COMMIT succeeded and the response was lost. Its bytes are
    counted already.

    The same bytes with a later LastModified are written again: their rows may win against those of other objects. The
    seconds in the log entry end before the COMMIT.
    """
    ref = fetched.ref
    with transaction(engine) as connection:
        entry = ingest_log.lock_object(connection, attempt.data_set, ref.key)
        if entry is not None and entry.is_loaded(ref):
            if not is_repetition:
                ingest_log.record_skipped(connection, ref, attempt)
            return IngestResult(ref, attempt.day, skipped=True)
        with closing(batches()) as encoded:
            row_counts = load_rows(connection, ref, encoded, data_set=attempt.data_set)
        with data_errors(ref.key):
            ingest_log.record_loaded(
                connection,
                ref,
                replace(attempt, phase_seconds=timer.seconds),
                row_counts,
                data_warnings=reader.data_warnings,
                checksum_verified=fetched.checksum_verified,
                sha256=fetched.sha256,
                last_event_at=reader.last_event_at,
            )
        remove_attempts(connection, attempt.data_set, [ref.key])
        failpoint("before-commit")
    failpoint("after-commit")
    return IngestResult(ref, attempt.day, row_counts)
