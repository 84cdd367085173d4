"""Builds that are broken on purpose, one mistake each: the tests of a starred row must fail on its broken build.

A control is the row's own test, called again within `shown_to_fail`. A build replaces one named thing. Loaders that
run in processes of their own are started with the same build.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest
from sqlalchemy import Connection

from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.source import s3
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline.storage import ingest_log
from twap_pipeline.storage.ingest_log import LedgerEntry

BrokenBuild = Callable[[pytest.MonkeyPatch], None]
"""Puts the mistake into this process."""

_present: list[BrokenBuild] = []


def present_build() -> BrokenBuild | None:
    """Return the build that tests run against now; None for the right one."""
    return _present[-1] if _present else None


@contextmanager
def shown_to_fail(build: BrokenBuild) -> Iterator[None]:
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
    patch.setattr(LedgerEntry, "holds", lambda _entry, _ref: False)


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
