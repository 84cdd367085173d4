"""Marks objects before they are read, so that an object that ends the process is found, and finally parked.

A crash in a library, or the memory that an object needs, can end the process without an exception. The next run finds
the remaining marks and loads these objects last and one at a time. If a process ends while it reads an object alone,
the next run counts a failed attempt of it: a process that is killed rarely ends three times at the same object.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from twap_pipeline.domain.data_set import DataSet
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.ingest.concurrency import MAX_IN_FLIGHT_OBJECTS
from twap_pipeline.ingest.retry import transaction, with_retries
from twap_pipeline.storage.ingest_attempts import begin_attempts, find_attempts, remove_attempts

log = logging.getLogger(__name__)

PROCESS_ENDED = (
    "a process ended while it read this object: it was killed, lacked memory, or crashed in a library; if other objects"
    " load, the object is at fault"
)
"""Reason of the failed attempt that a remaining mark stands for."""


class AttemptMarks:
    """The marks of one call of `load.ingest_objects`."""

    def __init__(self, engine: Engine, data_set: DataSet) -> None:
        self._engine = engine
        self._data_set = data_set
        self._keys: set[str] = set()

    def find_interrupted(self, refs: Iterable[ObjectRef]) -> dict[str, bool]:
        """Return key → whether it was read alone, of the objects that a process was reading when it ended."""

        def find() -> dict[str, bool]:
            with transaction(self._engine) as connection:
                return find_attempts(connection, self._data_set, refs)

        return with_retries(find)

    def mark(self, refs: Iterable[ObjectRef], *, is_alone: bool = False) -> Iterator[ObjectRef]:
        """Yield the objects, each marked before; the marks of up to eight objects are one statement."""
        remaining = iter(refs)
        while group := list(islice(remaining, MAX_IN_FLIGHT_OBJECTS)):

            def begin(group: list[ObjectRef] = group) -> None:
                with transaction(self._engine) as connection:
                    begin_attempts(connection, self._data_set, group, is_alone=is_alone)

            with_retries(begin)
            self._keys.update(ref.key for ref in group)
            yield from group

    @contextmanager
    def removed_at_end(self) -> Iterator[None]:
        """Delete the remaining marks when the block ends, also by an exception: the process has not crashed.

        After a MemoryError the marks remain: an object that needs too much memory must not end every run.
        """
        try:
            yield
        except MemoryError:
            raise
        except BaseException:
            self._remove()
            raise
        else:
            self._remove()

    def _remove(self) -> None:
        try:
            with transaction(self._engine) as connection:
                remove_attempts(connection, self._data_set, self._keys)
        except (psycopg.Error, DBAPIError) as error:
            log.warning("the marks of %s objects were not deleted: %s", len(self._keys), type(error).__name__)
