"""Mutants: faults that are patched into the code, each of which a test of the fault matrix must detect.

A negative control calls the test of its row again, within `expect_failure`. A mutant replaces one function or query.
Loaders in their own processes run the same mutant.
"""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectError, ObjectInvalidError
from twap_pipeline.ingest import load, object_reader
from twap_pipeline.ingest import plan as plan_module
from twap_pipeline.source import parquet, s3
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline.storage import ingest_log, sql_files
from twap_pipeline.storage.ingest_log import Attempt, IngestLogEntry
from twap_pipeline.storage.loading import merge, row_writer
from twap_pipeline.storage.schema import migration_lock
from twap_pipeline.storage.schema.revision_gate import read_revision

Mutant = Callable[[pytest.MonkeyPatch], None]
"""Patches the fault into this process."""

_active: list[Mutant] = []


def active_mutant() -> Mutant | None:
    """Return the mutant that tests run against; None for the real code."""
    return _active[-1] if _active else None


@contextmanager
def expect_failure(mutant: Mutant) -> Iterator[None]:
    """Run a test against a mutant within the block; raise an error unless the test fails."""
    _active.append(mutant)
    try:
        with pytest.MonkeyPatch.context() as patch:
            mutant(patch)
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                yield
    finally:
        _active.pop()


def separate_log_transaction(patch: pytest.MonkeyPatch) -> None:
    """The log entry commits in its own transaction, before the rows."""
    record = ingest_log.record_loaded

    def record_separately(connection: Connection, *args: Any, **options: Any) -> None:
        with connection.engine.begin() as separate:
            record(separate, *args, **options)

    patch.setattr(ingest_log, "record_loaded", record_separately)


def ingest_log_ignored(patch: pytest.MonkeyPatch) -> None:
    """A loaded version is loaded again."""
    patch.setattr(IngestLogEntry, "is_loaded", lambda _entry, _ref: False)


def no_if_match(patch: pytest.MonkeyPatch) -> None:
    """GET requests the latest version without If-Match, and stores it under the listed ETag."""
    read = S3Bucket._read

    def read_latest(store: S3Bucket, ref: ObjectRef, into: IO[bytes], deadline: float) -> bool:
        latest = next(listed for listed in store.list_objects(below=ref.key) if listed.key == ref.key)
        return read(store, latest, into, deadline)

    patch.setattr(S3Bucket, "_read", read_latest)


def unproven_bytes(patch: pytest.MonkeyPatch) -> None:
    """Bytes are not compared with the store's checksum."""
    patch.setattr(s3, "_verify", lambda *_: False)


def watermark_on_last_modified(patch: pytest.MonkeyPatch) -> None:
    """Only objects newer than the newest loaded object are pending."""
    plan = plan_module.plan

    def plan_after_watermark(
        listing: Iterable[ObjectRef], entries: Mapping[str, IngestLogEntry], **options: Any
    ) -> plan_module.Plan:
        newest = max((entry.last_modified for entry in entries.values()), default=datetime.min.replace(tzinfo=UTC))
        return plan([ref for ref in listing if ref.last_modified > newest], entries, **options)

    patch.setattr(plan_module, "plan", plan_after_watermark)


def key_alone(patch: pytest.MonkeyPatch) -> None:
    """A key counts as loaded with any ETag."""
    patch.setattr(IngestLogEntry, "is_loaded", lambda entry, _ref: entry.error_text is None)


def etag_alone(patch: pytest.MonkeyPatch) -> None:
    """A version counts as loaded with any LastModified."""
    patch.setattr(IngestLogEntry, "includes", lambda entry, ref: entry.etag == ref.etag)


def most_common_unit(patch: pytest.MonkeyPatch) -> None:
    """A column with several time units is read in the most common one."""
    patch.setattr(object_reader, "infer_unit", lambda counts, **_: max(counts, key=counts.get, default=None))


def last_writer_wins(patch: pytest.MonkeyPatch) -> None:
    """The merge ignores precedence: a row replaces any stored row of another object."""

    def load_queries_without_precedence(package: str, file: str) -> dict[str, str]:
        queries = sql_files.load_queries(package, file)
        merge_staged = queries["merge_staged"]
        assert merge_staged.count(">=") == 2, "precedence is compared when rows are classified, and on conflict"
        return {**queries, "merge_staged": merge_staged.replace(">=", "IS DISTINCT FROM")}

    patch.setattr(merge, "load_queries", load_queries_without_precedence)


def no_object_lock(patch: pytest.MonkeyPatch) -> None:
    """Loaders read the log entry without a lock; the first four read it before any of them writes."""
    barrier, calls = threading.Barrier(4), itertools.count()

    def read_without_lock(connection: Connection, data_set: DataSet, key: str) -> IngestLogEntry | None:
        entry = ingest_log.read_ingest_log(connection, data_set=data_set).get(key)
        if next(calls) < barrier.parties:
            barrier.wait(20)
        return entry

    patch.setattr(ingest_log, "lock_object", read_without_lock)


def plan_by_statistics(patch: pytest.MonkeyPatch) -> None:
    """The coverage joins log and history in a way that leaves the plan to the table statistics."""
    from twap_pipeline.api.queries import coverage  # in a function: unit tests import this module, but no FastAPI

    query = coverage._QUERIES["coverage"]
    assert query.count("FULL JOIN history") == 1
    patch.setitem(coverage._QUERIES, "coverage", query.replace("FULL JOIN history", "LEFT JOIN history"))


def first_failure_ends_all(patch: pytest.MonkeyPatch) -> None:
    """An object that cannot be read ends the load of the others."""

    def fail(_engine: Engine, _ref: ObjectRef, _attempt: Attempt, error: ObjectError) -> None:
        raise error

    patch.setattr(load, "_record_failure", fail)


def only_known_exceptions(patch: pytest.MonkeyPatch) -> None:
    """Only the exceptions of pyarrow and polars that were foreseen fail an object; any other ends the run."""

    @contextmanager
    def translate_foreseen(key: str, problem: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            raise ObjectInvalidError(key, f"{problem}: {error}") from error

    for module in (object_reader, parquet, row_writer):
        patch.setattr(module, "object_errors", translate_foreseen)


def retries_without_a_cap(patch: pytest.MonkeyPatch) -> None:
    """No object is ever parked, and the sensor requests failed runs without a limit."""
    from twap_pipeline.defs import run_requests  # imports Dagster, which most tests do not need

    patch.setattr(IngestLogEntry, "is_parked", lambda _entry, _ref: False)
    patch.setattr(run_requests, "MAX_RUNS_PER_BATCH", 1_000_000)


def orders_by_latest_time(patch: pytest.MonkeyPatch) -> None:
    """Pages of orders follow the time of each order's latest event, which changes."""
    from twap_pipeline.api.routes import orders  # imports FastAPI, which most tests do not need

    statement = text(
        "SELECT json_build_object('twap_id', twap_id)::text AS body, 0 AS digits, twap_id, to_char(last_status_at,"
        " 'YYYYMMDDHH24MISSUS') AS wallet, -1 AS cut_digits FROM twap_orders WHERE (to_char(last_status_at,"
        " 'YYYYMMDDHH24MISSUS'), twap_id) < (:latest, :twap_id) ORDER BY wallet DESC, twap_id DESC LIMIT :limit"
    )

    def list_by_latest_time(_selection: Any, *, sort: str, after: Any, limit: int) -> Any:
        _, twap_id, latest = after or (0, "", "9")
        return statement, {"latest": latest, "twap_id": twap_id, "limit": limit}

    patch.setattr(orders, "order_page", list_by_latest_time)


def blocking_migration_lock(patch: pytest.MonkeyPatch) -> None:
    """A deployer waits for the migration lock in a statement, whose snapshot stays open."""
    polled = "pg_try_advisory_xact_lock(x'74776170'::int)"
    assert migration_lock._TRY_LOCK.count(polled) == 1
    blocking = migration_lock._TRY_LOCK.replace(polled, "pg_advisory_xact_lock(x'74776170'::int) IS NOT NULL")
    patch.setattr(migration_lock, "_TRY_LOCK", blocking)


def read_before_migration(patch: pytest.MonkeyPatch) -> None:
    """The connection of a migration executes a statement first: Alembic does not commit."""
    upgrade = command.upgrade

    def read_and_upgrade(config: Config, revision: str) -> None:
        read_revision(config.attributes["connection"])
        upgrade(config, revision)

    patch.setattr(command, "upgrade", read_and_upgrade)
