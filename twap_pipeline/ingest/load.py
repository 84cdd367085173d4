"""One object, or a day of them, into the database: rows and ledger entry in one transaction, exactly once."""

import logging
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

import psycopg
from sqlalchemy import Engine

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.errors import ObjectChangedError, ObjectError, ObjectGoneError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.ingest.concurrency import LoadLimits, bounded_map
from twap_pipeline.ingest.fetch import FetchResult, fetch_latest
from twap_pipeline.ingest.object_reader import ObjectPreview, ObjectReader, read_ahead
from twap_pipeline.ingest.retry import explain_lock_timeout, transaction, with_retries
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_log import IngestLogEntry
from twap_pipeline.storage.loading.status_writer import CopyBatch, encode_batch, load_rows

log = logging.getLogger(__name__)
"""Says one line, at level INFO, for each object that is done with."""

_BatchFactory = Callable[[], Generator[CopyBatch, None, None]]
"""Gives an object's rows from the start, each time it is called: a transaction may have to be repeated."""

_IN_MEMORY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What came of one object.

    Args:
        ref: The object.
        day: Its UTC day.
        row_counts: Its rows; all zero if it failed, or was there already.
        data_warnings: What a person should hear of, with rows.
        error: Why it failed; None when it is loaded.
        failed_attempts: Failed attempts at this version, with this one.
        skipped: Another run had loaded this version, or the one that replaced it, first.
        preview: What a person sees of its rows.
        seconds: Where its time went: ``reading`` from the store, ``decoding`` (a large object's overlaps with its
            writing and is counted there), ``writing``; waiting for a connection is in none.
    """

    ref: ObjectRef
    day: date
    row_counts: RowCounts = field(default_factory=RowCounts)
    data_warnings: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    failed_attempts: int = 0
    skipped: bool = False
    preview: ObjectPreview = field(default_factory=ObjectPreview)
    seconds: Mapping[str, float] = field(default_factory=dict)


def ingest_objects(
    store: ObjectStore,
    engine: Engine,
    refs: Iterable[ObjectRef],
    day: date,
    *,
    run_id: str | None = None,
    connections: int = 1,
) -> list[IngestResult]:
    """Take a day's objects; one that fails does not keep the others.

    While some are written, the next ones are read and made ready.

    Args:
        store: Where the objects lie.
        engine: The database.
        refs: The versions to take.
        day: The UTC day they are filed under.
        run_id: The Dagster run, for the ledger.
        connections: Objects that are written at once, each in a transaction of its own.

    Returns:
        What came of each, in their order; all of it is on disk then.

    Raises:
        SourceError: The store as a whole refused or failed.
        OperationalError: The database kept failing.
    """
    limits = LoadLimits(connections)

    def take(ref: ObjectRef) -> IngestResult:
        return ingest_object(store, engine, ref, day, run_id=run_id, limits=limits)

    done = list(bounded_map(take, refs, limits))
    while lost := with_retries(partial(_keys_lost_in_crash, engine, done)):
        done = [take(one.ref) if one.ref.key in lost else one for one in done]
    return done


def _keys_lost_in_crash(engine: Engine, done: Iterable[IngestResult]) -> set[str]:
    """Wait for the disk; return the objects that PostgreSQL lost before, by a crash."""
    written = {one.ref.key: one.ref.etag for one in done if not (one.error or one.skipped)}
    if not written:
        return set()
    with engine.connect() as connection:
        ingest_log.flush_wal(connection)
        return written.keys() - ingest_log.loaded_keys(connection, written)


def ingest_object(
    store: ObjectStore,
    engine: Engine,
    ref: ObjectRef,
    day: date,
    *,
    run_id: str | None = None,
    limits: LoadLimits | None = None,
) -> IngestResult:
    """Take one object: read it, then write its rows and its ledger entry in one transaction.

    Where PostgreSQL crashes less than a second later that transaction may be lost, whole: `ingest_objects` looks.
    An object that cannot be read is recorded with its error and returned, not raised: the others go on.

    Args:
        store: Where the object lies.
        engine: The database.
        ref: The version to take; one that was overwritten meanwhile gives way to the present one.
        day: The UTC day it is filed under.
        run_id: The Dagster run, for the ledger.
        limits: What to wait for before writing, where other objects are written too.

    Raises:
        SourceError: The store as a whole refused or failed.
        OperationalError: The database kept failing.
    """
    limits = limits or LoadLimits(1)
    seconds: dict[str, float] = {}
    try:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            with _timed(seconds, "reading"):
                fetched = fetch_latest(store, ref, file)
                ref = fetched.ref
            failpoint("downloaded")
            with limits.cpu_slot(), _timed(seconds, "decoding"):
                reading = ObjectReader(ref, file)
                blocks = _blocks(reading, limits)

            def write() -> IngestResult:
                with limits.write_slot(), _timed(seconds, "writing"):
                    take = partial(_write, engine, fetched, reading, blocks, day=day, run_id=run_id)
                    with suppress(psycopg.errors.UniqueViolation):  # another object has said one of its events
                        return take(bare=reading.is_small)
                    return take(bare=False)

            with explain_lock_timeout(ref.key):
                done = with_retries(write)
    except ObjectError as error:
        with limits.write_slot():
            done = _record_failure(engine, ref, day, error, run_id)
    log.info("%s: %s", ref.key, done.error or f"{done.row_counts.total} rows")
    return replace(done, seconds=seconds)


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - started


def _record_failure(engine: Engine, ref: ObjectRef, day: date, error: ObjectError, run_id: str | None) -> IngestResult:
    with transaction(engine) as connection:
        entry = ingest_log.lock_object(connection, ref.key)
        if entry is not None and _already_loaded_elsewhere(entry, ref, error):
            return IngestResult(ref, day, skipped=True)
        failed_attempts = ingest_log.record_failed(connection, ref, day, error.reason, run_id)
    return IngestResult(ref, day, error=error.reason, failed_attempts=failed_attempts)


def _already_loaded_elsewhere(entry: IngestLogEntry, ref: ObjectRef, error: ObjectError) -> bool:
    """Whether another loader was quicker: it took this version, or the one that replaced it since our listing."""
    replaced = isinstance(error, ObjectChangedError | ObjectGoneError) and entry.error_text is None
    return entry.is_loaded(ref) or (replaced and entry.last_modified >= ref.last_modified)


def _blocks(reading: ObjectReader, limits: LoadLimits) -> _BatchFactory:
    """Return the object's rows, ready to be written: a small object's at once, a large one's block by block.

    A large object's next block is made while the one before is written.
    """

    def made() -> Iterator[CopyBatch]:
        for batch in reading.batches():
            limits.raise_if_cancelled()
            yield encode_batch(reading.ref, batch)

    if reading.is_small:
        whole = list(made())
        return lambda: (block for block in whole)
    return lambda: read_ahead(made())


def _write(
    engine: Engine,
    fetched: FetchResult,
    reading: ObjectReader,
    blocks: _BatchFactory,
    *,
    day: date,
    run_id: str | None,
    bare: bool,
) -> IngestResult:
    ref = fetched.ref
    with transaction(engine) as connection:
        entry = ingest_log.lock_object(connection, ref.key)
        if entry is not None and entry.is_loaded(ref):
            return IngestResult(ref, day, skipped=True)
        is_reload = entry is not None and entry.error_text is None
        if entry is not None and is_reload and ingest_log.record_same_content(connection, ref, fetched.sha256):
            return IngestResult(ref, day, _all_unchanged(entry.row_counts))
        with closing(blocks()) as made:
            row_counts = load_rows(connection, ref, made, is_reload=is_reload, bare=bare and entry is None)
        ingest_log.record_loaded(
            connection,
            ref,
            day,
            row_counts,
            data_warnings=reading.data_warnings,
            checksum_verified=fetched.checksum_verified,
            sha256=fetched.sha256,
            run_id=run_id,
        )
        failpoint("before-commit")
    failpoint("after-commit")
    return IngestResult(ref, day, row_counts, dict(reading.data_warnings), preview=reading.preview)


def _all_unchanged(row_counts: RowCounts) -> RowCounts:
    return replace(row_counts, inserted=0, updated=0, unchanged=row_counts.stored)
