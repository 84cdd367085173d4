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
from twap_pipeline.domain.quality import Fates
from twap_pipeline.errors import ObjectChangedError, ObjectError, ObjectGoneError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.ingest.fetching import Fetched, fetch_present
from twap_pipeline.ingest.reading import Glimpse, Reading, read_ahead
from twap_pipeline.ingest.retrying import patience, transaction, with_retries
from twap_pipeline.ingest.side_by_side import Lanes, side_by_side
from twap_pipeline.source.object_store import ObjectStore
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_log import LedgerEntry
from twap_pipeline.storage.twap_status import Block, as_block, load_rows

log = logging.getLogger(__name__)
"""Says one line, at level INFO, for each object that is done with."""

_Blocks = Callable[[], Generator[Block, None, None]]
"""Gives an object's rows from the start, each time it is called: a transaction may have to be repeated."""

_IN_MEMORY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came of one object.

    Args:
        ref: The object.
        day: Its UTC day.
        fates: Its rows; all zero if it failed, or was there already.
        findings: What a person should hear of, with rows.
        error: Why it failed; None when it is loaded.
        attempts: Failed attempts at this version, with this one.
        skipped: Another run had loaded this version, or the one that replaced it, first.
        glimpse: What a person sees of its rows.
        seconds: Where its time went: ``reading`` from the store, ``decoding`` (a large object's overlaps with its
            writing and is counted there), ``writing``; waiting for a connection is in none.
    """

    ref: ObjectRef
    day: date
    fates: Fates = field(default_factory=Fates)
    findings: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    attempts: int = 0
    skipped: bool = False
    glimpse: Glimpse = field(default_factory=Glimpse)
    seconds: Mapping[str, float] = field(default_factory=dict)


def ingest_objects(
    store: ObjectStore,
    engine: Engine,
    refs: Iterable[ObjectRef],
    day: date,
    *,
    run_id: str | None = None,
    connections: int = 1,
) -> list[Ingested]:
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
    lanes = Lanes(connections)

    def take(ref: ObjectRef) -> Ingested:
        return ingest_object(store, engine, ref, day, run_id=run_id, lanes=lanes)

    done = list(side_by_side(take, refs, lanes))
    while lost := with_retries(partial(_lost, engine, done)):
        done = [take(one.ref) if one.ref.key in lost else one for one in done]
    return done


def _lost(engine: Engine, done: Iterable[Ingested]) -> set[str]:
    """Wait for the disk; return the objects that PostgreSQL lost before, by a crash."""
    written = {one.ref.key: one.ref.etag for one in done if not (one.error or one.skipped)}
    if not written:
        return set()
    with engine.connect() as connection:
        ingest_log.wait_for_disk(connection)
        return written.keys() - ingest_log.loaded_keys(connection, written)


def ingest_object(
    store: ObjectStore,
    engine: Engine,
    ref: ObjectRef,
    day: date,
    *,
    run_id: str | None = None,
    lanes: Lanes | None = None,
) -> Ingested:
    """Take one object: read it, then write its rows and its ledger entry in one transaction.

    Where PostgreSQL crashes less than a second later that transaction may be lost, whole: `ingest_objects` looks.
    An object that cannot be read is recorded with its error and returned, not raised: the others go on.

    Args:
        store: Where the object lies.
        engine: The database.
        ref: The version to take; one that was overwritten meanwhile gives way to the present one.
        day: The UTC day it is filed under.
        run_id: The Dagster run, for the ledger.
        lanes: What to wait for before writing, where other objects are written too.

    Raises:
        SourceError: The store as a whole refused or failed.
        OperationalError: The database kept failing.
    """
    lanes = lanes or Lanes(1)
    seconds: dict[str, float] = {}
    try:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            with _timed(seconds, "reading"):
                fetched = fetch_present(store, ref, file)
                ref = fetched.ref
            failpoint("downloaded")
            with lanes.processor(), _timed(seconds, "decoding"):
                reading = Reading(ref, file)
                blocks = _blocks(reading, lanes)

            def write() -> Ingested:
                with lanes.one(), _timed(seconds, "writing"):
                    take = partial(_write, engine, fetched, reading, blocks, day=day, run_id=run_id)
                    with suppress(psycopg.errors.UniqueViolation):  # another object has said one of its events
                        return take(bare=reading.is_small)
                    return take(bare=False)

            with patience(ref.key):
                done = with_retries(write)
    except ObjectError as error:
        with lanes.one():
            done = _park(engine, ref, day, error, run_id)
    log.info("%s: %s", ref.key, done.error or f"{done.fates.read} rows")
    return replace(done, seconds=seconds)


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - started


def _park(engine: Engine, ref: ObjectRef, day: date, error: ObjectError, run_id: str | None) -> Ingested:
    with transaction(engine) as connection:
        entry = ingest_log.claim(connection, ref.key)
        if entry is not None and _overtaken(entry, ref, error):
            return Ingested(ref, day, skipped=True)
        attempts = ingest_log.record_failed(connection, ref, day, error.reason, run_id)
    return Ingested(ref, day, error=error.reason, attempts=attempts)


def _overtaken(entry: LedgerEntry, ref: ObjectRef, error: ObjectError) -> bool:
    """Whether another loader was quicker: it took this version, or the one that replaced it since our listing."""
    replaced = isinstance(error, ObjectChangedError | ObjectGoneError) and entry.error_text is None
    return entry.holds(ref) or (replaced and entry.last_modified >= ref.last_modified)


def _blocks(reading: Reading, lanes: Lanes) -> _Blocks:
    """Return the object's rows, ready to be written: a small object's at once, a large one's block by block.

    A large object's next block is made while the one before is written.
    """

    def made() -> Iterator[Block]:
        for portion in reading.portions():
            lanes.go_on()
            yield as_block(reading.ref, portion)

    if reading.is_small:
        whole = list(made())
        return lambda: (block for block in whole)
    return lambda: read_ahead(made())


def _write(
    engine: Engine,
    fetched: Fetched,
    reading: Reading,
    blocks: _Blocks,
    *,
    day: date,
    run_id: str | None,
    bare: bool,
) -> Ingested:
    ref = fetched.ref
    with transaction(engine) as connection:
        entry = ingest_log.claim(connection, ref.key)
        if entry is not None and entry.holds(ref):
            return Ingested(ref, day, skipped=True)
        seen_before = entry is not None and entry.error_text is None
        if entry is not None and seen_before and ingest_log.record_sent_again(connection, ref, fetched.sha256):
            return Ingested(ref, day, _all_unchanged(entry.fates))
        with closing(blocks()) as made:
            fates = load_rows(connection, ref, made, seen_before=seen_before, bare=bare and entry is None)
        ingest_log.record_loaded(
            connection,
            ref,
            day,
            fates,
            findings=reading.findings,
            digest_verified=fetched.digest_verified,
            sha256=fetched.sha256,
            run_id=run_id,
        )
        failpoint("before-commit")
    failpoint("after-commit")
    return Ingested(ref, day, fates, dict(reading.findings), glimpse=reading.glimpse)


def _all_unchanged(fates: Fates) -> Fates:
    return replace(fates, inserted=0, updated=0, unchanged=fates.held)
