"""One object, or a day of them, into the database: rows and ledger entry in one transaction, exactly once."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError as SqlalchemyOperationalError

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.quality import Fates
from twap_pipeline.errors import ObjectChangedError, ObjectError, ObjectGoneError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.ingest.reading import Glimpse, Reading
from twap_pipeline.source.object_store import ObjectStore
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_log import LedgerEntry
from twap_pipeline.storage.twap_status import load_rows

log = logging.getLogger(__name__)
"""Says one line, at level INFO, for each object that is done with."""

TRANSACTION_ATTEMPTS = 3
"""Tries of one object's transaction when PostgreSQL ends it for a deadlock or drops the connection."""

_RETRY_SECONDS = 0.1
_PASSING_CLASSES = ("08", "40")  # connection exceptions; deadlocks and serialization failures
_PASSING_STATES = ("57P01", "57P02", "57P03")  # shut down, crashed, starting up
_IN_MEMORY_BYTES = 32 * 1024 * 1024


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
    """

    ref: ObjectRef
    day: date
    fates: Fates = field(default_factory=Fates)
    findings: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    attempts: int = 0
    skipped: bool = False
    glimpse: Glimpse = field(default_factory=Glimpse)


def ingest_objects(
    store: ObjectStore, engine: Engine, refs: Iterable[ObjectRef], day: date, *, run_id: str | None = None
) -> list[Ingested]:
    """Take a day's objects one after the other; one that fails does not keep the others."""
    return [ingest_object(store, engine, ref, day, run_id=run_id) for ref in refs]


def ingest_object(
    store: ObjectStore, engine: Engine, ref: ObjectRef, day: date, *, run_id: str | None = None
) -> Ingested:
    """Take one object: read it, then write its rows and its ledger entry in one transaction.

    An object that cannot be read is recorded with its error and returned, not raised: the others go on.

    Args:
        store: Where the object lies.
        engine: The database.
        ref: The version to take.
        day: The UTC day it is filed under.
        run_id: The Dagster run, for the ledger.

    Raises:
        SourceError: The store as a whole refused or failed.
        OperationalError: The database kept failing.
    """
    try:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            verified = store.fetch(ref, file)
            failpoint("downloaded")
            reading = Reading(ref, file)
            done = _with_retries(lambda: _write(engine, reading, day, verified=verified, run_id=run_id))
    except ObjectError as error:
        done = _park(engine, ref, day, error, run_id)
    log.info("%s: %s", ref.key, done.error or f"{done.fates.read} rows")
    return done


def _park(engine: Engine, ref: ObjectRef, day: date, error: ObjectError, run_id: str | None) -> Ingested:
    with engine.begin() as connection:
        entry = ingest_log.claim(connection, ref.key)
        if entry is not None and _overtaken(entry, ref, error):
            return Ingested(ref, day, skipped=True)
        attempts = ingest_log.record_failed(connection, ref, day, error.reason, run_id)
    return Ingested(ref, day, error=error.reason, attempts=attempts)


def _overtaken(entry: LedgerEntry, ref: ObjectRef, error: ObjectError) -> bool:
    """Whether another loader was quicker: it took this version, or the one that replaced it since our listing."""
    replaced = isinstance(error, ObjectChangedError | ObjectGoneError) and entry.error_text is None
    return entry.holds(ref) or (replaced and entry.last_modified >= ref.last_modified)


def _write(engine: Engine, reading: Reading, day: date, *, verified: bool, run_id: str | None) -> Ingested:
    ref = reading.ref
    with engine.begin() as connection:
        entry = ingest_log.claim(connection, ref.key)
        if entry is not None and entry.holds(ref):
            return Ingested(ref, day, skipped=True)
        seen_before = entry is not None and entry.error_text is None
        fates = load_rows(connection, ref, reading.portions, seen_before=seen_before)
        ingest_log.record_loaded(
            connection, ref, day, fates, findings=reading.findings, digest_verified=verified, run_id=run_id
        )
        failpoint("before-commit")
    failpoint("after-commit")
    return Ingested(ref, day, fates, dict(reading.findings), glimpse=reading.glimpse)


def _with_retries(transaction: Callable[[], Ingested]) -> Ingested:
    """Run a transaction again after a deadlock or a lost connection; the ledger tells if it had committed."""
    for attempt in range(1, TRANSACTION_ATTEMPTS):
        try:
            return transaction()
        except (psycopg.OperationalError, SqlalchemyOperationalError) as error:
            if not _may_pass(error):
                raise
            time.sleep(_RETRY_SECONDS * 2**attempt)
    return transaction()


def _may_pass(error: psycopg.OperationalError | SqlalchemyOperationalError) -> bool:
    """Return whether PostgreSQL ended the transaction for a reason that passes, and not, say, for a full disk."""
    cause = error.orig if isinstance(error, SqlalchemyOperationalError) else error
    state = getattr(cause, "sqlstate", None)
    return state is None or state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
