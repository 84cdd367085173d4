"""Builds that are broken on purpose, one mistake each: the tests of a starred row must fail on its broken build.

A control is the row's own test, called again within `expect_failure`. A build replaces one named thing. Loaders that
run in processes of their own are started with the same build.
"""

import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import IO, Any

import pytest
from sqlalchemy import Connection, Engine

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.errors import ObjectError
from twap_pipeline.ingest import load, object_reader
from twap_pipeline.ingest import plan as plan_module
from twap_pipeline.source import s3
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_log import IngestLogEntry
from twap_pipeline.storage.loading import merge

BrokenBuild = Callable[[pytest.MonkeyPatch], None]
"""Puts the mistake into this process."""

_present: list[BrokenBuild] = []


def present_build() -> BrokenBuild | None:
    """Return the build that tests run against now; None for the right one."""
    return _present[-1] if _present else None


@contextmanager
def expect_failure(build: BrokenBuild) -> Iterator[None]:
    """Run a test within the block against a broken build; the block passes only if the test fails."""
    _present.append(build)
    try:
        with pytest.MonkeyPatch.context() as patch:
            build(patch)
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                yield
    finally:
        _present.pop()


def ledger_in_a_transaction_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """The ledger's entry commits by itself, whatever becomes of the rows."""
    record = ingest_log.record_loaded

    def record_apart(connection: Connection, *rest: Any, **named: Any) -> None:
        with connection.engine.begin() as own:
            record(own, *rest, **named)

    patch.setattr(ingest_log, "record_loaded", record_apart)


def ledger_that_is_not_asked(patch: pytest.MonkeyPatch) -> None:
    """What is loaded is loaded again."""
    patch.setattr(IngestLogEntry, "is_loaded", lambda _entry, _ref: False)
    patch.setattr(ingest_log, "record_same_content", lambda *_: False)


def any_version(patch: pytest.MonkeyPatch) -> None:
    """A GET without If-Match, whose digest is not compared."""
    read = S3Bucket._read

    def read_whatever_is_there(store: S3Bucket, ref: ObjectRef, into: IO[bytes], deadline: float) -> bool:
        present = next(found for found in store.list_objects(below=ref.key) if found.key == ref.key)
        return read(store, present, into, deadline)

    patch.setattr(S3Bucket, "_read", read_whatever_is_there)


def unproven_bytes(patch: pytest.MonkeyPatch) -> None:
    """Bytes are believed, whatever the store's digest says."""
    patch.setattr(s3, "_verify", lambda *_: False)


def watermark_on_last_modified(patch: pytest.MonkeyPatch) -> None:
    """Only what is newer than anything loaded counts as new."""
    plan = plan_module.plan

    def plan_behind_the_watermark(
        listing: Iterable[ObjectRef], ledger: Mapping[str, IngestLogEntry], **named: Any
    ) -> plan_module.Plan:
        newest = max((entry.last_modified for entry in ledger.values()), default=datetime.min.replace(tzinfo=UTC))
        return plan([ref for ref in listing if ref.last_modified > newest], ledger, **named)

    patch.setattr(plan_module, "plan", plan_behind_the_watermark)


def key_alone(patch: pytest.MonkeyPatch) -> None:
    """A key that was loaded once is loaded for ever, whatever its ETag."""
    patch.setattr(IngestLogEntry, "is_loaded", lambda entry, _ref: entry.error_text is None)


def most_common_unit(patch: pytest.MonkeyPatch) -> None:
    """Of several units of time in a column the most common one is taken for all."""
    patch.setattr(object_reader, "infer_unit", lambda counts, **_: max(counts, key=counts.get, default=None))


def last_writer_wins(patch: pytest.MonkeyPatch) -> None:
    """ON CONFLICT DO UPDATE without a condition."""
    unconditional, conditions = re.subn(r"\n  WHERE .*?\n  RETURNING", "\n  RETURNING", merge._MERGE, flags=re.S)
    assert conditions == 1
    patch.setattr(merge, "_MERGE", unconditional)
    every, cuts = re.subn(r"SELECT stored\.twap_id IS NULL OR .* AS is_due\)", "SELECT TRUE AS is_due)", merge._OPEN)
    assert cuts == 1
    patch.setattr(merge, "_OPEN", every)


def nobody_waits(patch: pytest.MonkeyPatch) -> None:
    """Loaders of one object look at the ledger without a lock; the first four do before any of them writes."""
    meeting, looks = threading.Barrier(4), itertools.count()

    def look(connection: Connection, key: str) -> IngestLogEntry | None:
        entry = ingest_log.read_ingest_log(connection).get(key)
        if next(looks) < meeting.parties:
            meeting.wait(20)
        return entry

    patch.setattr(ingest_log, "lock_object", look)


def first_failure_ends_all(patch: pytest.MonkeyPatch) -> None:
    """An object that cannot be read takes its neighbours with it."""

    def fail(_engine: Engine, _ref: ObjectRef, _day: date, error: ObjectError, _run_id: str | None) -> None:
        raise error

    patch.setattr(load, "_record_failure", fail)


def retries_without_a_cap(patch: pytest.MonkeyPatch) -> None:
    """Nothing is ever parked, and no number of failed runs is enough."""
    from twap_pipeline.defs import sensors  # late, for most tests do without Dagster

    patch.setattr(IngestLogEntry, "is_parked", lambda _entry, _ref: False)
    patch.setattr(sensors, "MAX_RUNS_PER_BATCH", 1_000_000)
