"""A source without bytes: it lists given objects, by prefix and after a key, as S3 does."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import IO, overload

import psycopg

from twap_pipeline.domain.object_ref import ObjectRef, partition_date
from twap_pipeline.errors import ObjectGoneError
from twap_pipeline.source.selection import SkippedObjects

OBJECTS_PER_DAY = 1_000
_LAST_MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)
_COPY_LOG_SQL = """
COPY etl_s3_ingest_log (s3_object_key, etag, last_modified, size_bytes, object_date, ingested_at, source_url,
  rows_ingested, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_superseded, rows_quarantined,
  rows_metadata, orders_refreshed_at)
FROM STDIN
"""


def record_as_loaded(url: str, refs: Iterable[ObjectRef], source_url: str) -> None:
    """Add an entry of a successful load without rows per object to the ingest log.

    Args:
        url: The database.
        refs: The objects.
        source_url: Source that each entry states.
    """
    counts = (0,) * 8
    with psycopg.connect(url) as connection:
        with connection.cursor().copy(_COPY_LOG_SQL) as copy:
            for ref in refs:
                version = (ref.key, ref.etag, ref.last_modified, ref.size_bytes, partition_date(ref))
                copy.write_row((*version, ref.last_modified, source_url, *counts, ref.last_modified))
        connection.execute("ANALYZE etl_s3_ingest_log")


@dataclass(frozen=True, slots=True)
class GeneratedRefs(Sequence[ObjectRef]):
    """The objects of a feed with `OBJECTS_PER_DAY` objects per day, computed when they are read.

    Args:
        size: Number of objects, a multiple of `OBJECTS_PER_DAY`.
        last_day: UTC day of the last objects.
    """

    size: int
    last_day: date

    @property
    def first_day(self) -> date:
        """UTC day of the first objects."""
        return self.last_day - timedelta(days=self.size // OBJECTS_PER_DAY - 1)

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> ObjectRef: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ObjectRef]: ...
    def __getitem__(self, index: int | slice) -> ObjectRef | Sequence[ObjectRef]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self.size))]
        if not 0 <= index < self.size:
            raise IndexError(index)
        days, number = divmod(index, OBJECTS_PER_DAY)
        day = self.first_day + timedelta(days=days)
        hour = number * 24 // OBJECTS_PER_DAY
        return ObjectRef(f"hourly/{day:%Y/%m/%d}/{hour:02}/part-{number:04}.parquet", f"{index}", _LAST_MODIFIED, 1)


@dataclass(frozen=True, slots=True)
class ListedStore:
    """An object store whose objects cannot be read.

    Args:
        url: The source URL.
        refs: The objects, in key order.
    """

    url: str
    refs: Sequence[ObjectRef]

    def list_objects(
        self, *, below: str = "", after: str = "", skipped: SkippedObjects | None = None
    ) -> Iterator[ObjectRef]:
        """Yield the objects in key order."""
        start = max(
            bisect_left(self.refs, below, key=lambda ref: ref.key),
            bisect_right(self.refs, after, key=lambda ref: ref.key),
        )
        for index in range(start, len(self.refs)):
            ref = self.refs[index]
            if not ref.key.startswith(below):
                return
            yield ref

    def fetch(self, ref: ObjectRef, into: IO[bytes]) -> bool:
        """Raise ObjectGoneError."""
        raise ObjectGoneError(ref.key, "this store has no bytes")

    def uri(self, key: str) -> str:
        """Return a URI of one object."""
        return self.url + key
