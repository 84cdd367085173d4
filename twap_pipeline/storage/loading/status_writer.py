"""An object's rows into ``twap_status``, under rule V9, and the count of row_counts.

Of several events with one (twap_id, wallet, ts) one wins, whatever the order, repetition or concurrency of loading:
the higher place in the order's life, then the newer object (LastModified, then key), then the later row.

The fast way is COPY straight into the table, block by block; PostgreSQL's own unique check tells when an event is there
already. That block, and those behind it until one is all new again, are looked up by key first (`lookup`); what neither
is new nor replaces a stored row, and all of an object that was loaded before, goes through a staging table (`merging`).
"""

import io
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC

import polars as pl
import psycopg
from sqlalchemy import Connection

from twap_pipeline.domain.normalize import NormalizedBatch
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.domain.status import KEY_COLUMNS, ROW_COLUMNS
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.loading.copy_text import copy_text
from twap_pipeline.storage.loading.existing_rows import (
    EMPTY_LOOKUP_TABLES,
    EVENT_COLUMNS,
    MAKE_LOOKUP_TABLES,
    look_up,
    make_room,
)
from twap_pipeline.storage.loading.merge import (
    COPIED_COLUMNS,
    EMPTY_STAGING_TABLES,
    MAKE_STAGING_TABLES,
    STAGING_TABLE,
    merge_staged,
)

MAX_QUARANTINED_ROWS = 100_000
"""An object with more unreadable rows than this is refused as a whole: it is not this feed."""

_PLAIN = ("twap_id", "wallet", "size_requested", "size_executed", "notional_executed", "s3_last_modified")


@dataclass(frozen=True, slots=True)
class CopyBatch:
    """A portion of an object's rows, ready to be written.

    Args:
        text: The canonical rows as COPY text, columns `COPIED_COLUMNS`, sorted by key so that two loaders meet in one
            order; equal keys in the object's order.
        events: Their `EVENT_COLUMNS`.
        has_duplicates: Whether several rows are of one event.
        rejected: Rows that could not be read.
        metadata_rows: Number of the vendor's metadata_rows rows.
    """

    text: bytes
    events: pl.DataFrame
    has_duplicates: bool
    rejected: pl.DataFrame
    metadata_rows: int

    @property
    def rows(self) -> int:
        """Number of canonical rows."""
        return self.events.height


def encode_batch(ref: ObjectRef, portion: NormalizedBatch) -> CopyBatch:
    """Return a portion of an object's rows, ready to be written."""
    rows = portion.rows.sort(*KEY_COLUMNS, maintain_order=True)
    modified = f"{ref.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
    claim = [pl.Series("s3_object_key", [ref.key]), pl.Series("s3_last_modified", [modified])]
    full = rows[list(ROW_COLUMNS)].hstack([value.new_from_index(0, rows.height) for value in claim])
    text = copy_text(full, plain=_PLAIN, json=("raw_payload",))
    events = rows[list(EVENT_COLUMNS)]
    return CopyBatch(text, events, _has_duplicate_keys(events), portion.rejected, portion.metadata_rows)


def _has_duplicate_keys(events: pl.DataFrame) -> bool:
    """Return whether several events, sorted, have one key: they are neighbours then."""
    same = [events[name][1:] == events[name][:-1] for name in KEY_COLUMNS]
    return bool((same[0] & same[1] & same[2]).any())


def load_rows(
    connection: Connection, ref: ObjectRef, blocks: Iterable[CopyBatch], *, is_reload: bool, bare: bool = False
) -> RowCounts:
    """Write an object's rows within the caller's transaction and return what became of them.

    Args:
        connection: In a transaction; nothing is committed here.
        ref: The object.
        blocks: All of its rows.
        is_reload: Whether a version of this object was loaded already, so that its events are probably there.
        bare: Whether the first block goes without a savepoint, which spares a small object, probably new, two round
            trips.

    Raises:
        psycopg.errors.UniqueViolation: The first block went `bare`, and one of its events is there already: begin a new
            transaction without that.
        ObjectInvalidError: More than `MAX_QUARANTINED_ROWS` rows cannot be read, or PostgreSQL refuses a value.
    """
    raw_connection = connection.connection.driver_connection
    if not isinstance(raw_connection, psycopg.Connection):
        raise TypeError("rows are loaded through psycopg 3 (postgresql+psycopg)")
    row_counts = RowCounts()
    rejected: list[pl.DataFrame] = []
    try:
        with raw_connection.cursor() as cursor:
            table = _StatusWriter(cursor, ref, is_reload=is_reload, bare=bare)
            for block in blocks:
                written = table.write(block)
                row_counts += written + RowCounts(quarantined=block.rejected.height, metadata=block.metadata_rows)
                rejected += [block.rejected] if block.rejected.height else []
                if row_counts.quarantined > MAX_QUARANTINED_ROWS:
                    raise _too_many_rejected(ref, block.rejected)
            _replace_rejected(cursor, ref, rejected)
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise ObjectInvalidError(
            ref.key, f"PostgreSQL cannot hold one of its rows: {error.diag.message_primary}"
        ) from error
    return row_counts


def _too_many_rejected(ref: ObjectRef, rejected: pl.DataFrame) -> ObjectInvalidError:
    reason = f"more than {MAX_QUARANTINED_ROWS} rows cannot be read; the last: {rejected['reason'][0]}"
    return ObjectInvalidError(ref.key, reason)


class _StatusWriter:
    """``twap_status`` within one transaction, written a block at a time.

    Args:
        cursor: In the transaction.
        ref: The object.
        is_reload: Whether rows of an earlier version of it may be there.
        bare: Whether the first block goes without a savepoint.
    """

    def __init__(
        self, cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, *, is_reload: bool, bare: bool
    ) -> None:
        self._cursor = cursor
        self._ref = ref
        self._are_new = not is_reload
        self._seen_before = is_reload
        self._needs_savepoint = not bare
        self._has_tables = False

    def write(self, block: CopyBatch) -> RowCounts:
        """Write a block's rows the shortest way that there is."""
        row_counts = self._insert(block) if self._are_new and not block.has_duplicates else None
        if row_counts is None:
            self._empty_tables()
            row_counts = None if self._seen_before or block.has_duplicates else self._replace(block)
        if row_counts is None:
            row_counts = self._merge(block.text, block.rows, has_duplicates=block.has_duplicates)
        self._are_new = row_counts.inserted == block.rows
        self._needs_savepoint = True
        return row_counts

    def _empty_tables(self) -> None:
        make, empty = (MAKE_LOOKUP_TABLES, MAKE_STAGING_TABLES), (EMPTY_LOOKUP_TABLES, EMPTY_STAGING_TABLES)
        for statement in empty if self._has_tables else make:
            self._cursor.execute(statement)
        self._has_tables = True

    def _insert(self, block: CopyBatch) -> RowCounts | None:
        """COPY straight into the table; None, and nothing written, where an event is there already."""
        if not self._needs_savepoint:
            self._copy(block.text, "twap_status")
            return RowCounts(inserted=block.rows)
        with suppress(psycopg.errors.UniqueViolation), self._cursor.connection.transaction():
            self._copy(block.text, "twap_status")
            return RowCounts(inserted=block.rows)
        return None

    def _replace(self, block: CopyBatch) -> RowCounts | None:
        """COPY what is new or replaces a stored row straight into the table, and merge the rest.

        None, and nothing written, where another loader came between.
        """
        found = look_up(self._cursor, self._ref, block.events)
        straight, rest = _parted(block.text, found.new | found.replacing)
        row_counts = None
        with suppress(psycopg.errors.UniqueViolation), self._cursor.connection.transaction() as savepoint:
            if make_room(self._cursor) < len(found.replacing):
                raise psycopg.Rollback(savepoint)
            self._copy(straight, "twap_status")
            row_counts = RowCounts(inserted=len(found.new), updated=len(found.replacing))
        return row_counts and row_counts + self._merge(rest, block.rows - row_counts.stored, has_duplicates=False)

    def _merge(self, text: bytes, rows: int, *, has_duplicates: bool) -> RowCounts:
        """Go through a staging table: each event finds its place under rule V9."""
        if not rows:
            return RowCounts()
        self._copy(text, STAGING_TABLE)
        return merge_staged(self._cursor, rows=rows, has_duplicates=has_duplicates)

    def _copy(self, text: bytes, table: str) -> None:
        if text:
            with self._cursor.copy(f"COPY {table} ({', '.join(COPIED_COLUMNS)}) FROM STDIN".encode()) as copy:
                copy.write(text)
                failpoint("mid-copy")


def _parted(text: bytes, places: Container[int]) -> tuple[bytes, bytes]:
    """Return the lines at some places, and the others."""
    chosen, others = list[bytes](), list[bytes]()
    for place, line in enumerate(io.BytesIO(text)):
        (chosen if place in places else others).append(line)
    return b"".join(chosen), b"".join(others)


def _replace_rejected(
    cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, rejected: list[pl.DataFrame]
) -> None:
    cursor.execute("DELETE FROM twap_status_quarantine WHERE s3_object_key = %s", (ref.key,))
    if rejected:
        frame = pl.concat(rejected).with_columns(pl.lit(ref.key).alias("s3_object_key"))
        columns = ("s3_object_key", "row_number", "raw_row", "reason")
        with cursor.copy(f"COPY twap_status_quarantine ({', '.join(columns)}) FROM STDIN") as copy:
            copy.write(copy_text(frame.select(columns), json=("raw_row",)))
