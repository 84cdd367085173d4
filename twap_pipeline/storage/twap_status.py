"""An object's rows into ``twap_status``, under rule V9, and the count of fates.

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

from twap_pipeline.domain.normalize import Normalized
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.quality import Fates
from twap_pipeline.domain.twap_status import KEY_COLUMNS, ROW_COLUMNS
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.copy_text import copy_text
from twap_pipeline.storage.lookup import EMPTY_LOOKUP_TABLES, EVENT_COLUMNS, MAKE_LOOKUP_TABLES, look_up, make_room
from twap_pipeline.storage.merging import (
    COPIED_COLUMNS,
    EMPTY_STAGING_TABLES,
    MAKE_STAGING_TABLES,
    STAGING_TABLE,
    merge_staged,
)

REJECTED_ROWS_MAX = 100_000
"""An object with more unreadable rows than this is refused as a whole: it is not this feed."""

_PLAIN = ("twap_id", "wallet", "size_requested", "size_executed", "notional_executed", "s3_last_modified")


@dataclass(frozen=True, slots=True)
class Block:
    """A portion of an object's rows, ready to be written.

    Args:
        text: The canonical rows as COPY text, columns `COPIED_COLUMNS`, sorted by key so that two loaders meet in one
            order; equal keys in the object's order.
        events: Their `EVENT_COLUMNS`.
        repeats: Whether several rows are of one event.
        rejected: Rows that could not be read.
        bookkeeping: Number of the vendor's bookkeeping rows.
    """

    text: bytes
    events: pl.DataFrame
    repeats: bool
    rejected: pl.DataFrame
    bookkeeping: int

    @property
    def rows(self) -> int:
        """Number of canonical rows."""
        return self.events.height


def as_block(ref: ObjectRef, portion: Normalized) -> Block:
    """Return a portion of an object's rows, ready to be written."""
    rows = portion.rows.sort(*KEY_COLUMNS, maintain_order=True)
    modified = f"{ref.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
    claim = [pl.Series("s3_object_key", [ref.key]), pl.Series("s3_last_modified", [modified])]
    full = rows[list(ROW_COLUMNS)].hstack([value.new_from_index(0, rows.height) for value in claim])
    text = copy_text(full, plain=_PLAIN, json=("raw_payload",))
    events = rows[list(EVENT_COLUMNS)]
    return Block(text, events, _have_repeats(events), portion.rejected, portion.bookkeeping)


def _have_repeats(events: pl.DataFrame) -> bool:
    """Return whether several events, sorted, have one key: they are neighbours then."""
    same = [events[name][1:] == events[name][:-1] for name in KEY_COLUMNS]
    return bool((same[0] & same[1] & same[2]).any())


def load_rows(
    connection: Connection, ref: ObjectRef, blocks: Iterable[Block], *, seen_before: bool, bare: bool = False
) -> Fates:
    """Write an object's rows within the caller's transaction and return what became of them.

    Args:
        connection: In a transaction; nothing is committed here.
        ref: The object.
        blocks: All of its rows.
        seen_before: Whether a version of this object was loaded already, so that its events are probably there.
        bare: Whether the first block goes without a savepoint, which spares a small object, probably new, two round
            trips.

    Raises:
        psycopg.errors.UniqueViolation: The first block went `bare`, and one of its events is there already: begin a new
            transaction without that.
        ObjectInvalidError: More than `REJECTED_ROWS_MAX` rows cannot be read, or PostgreSQL refuses a value.
    """
    raw_connection = connection.connection.driver_connection
    if not isinstance(raw_connection, psycopg.Connection):
        raise TypeError("rows are loaded through psycopg 3 (postgresql+psycopg)")
    fates = Fates()
    rejected: list[pl.DataFrame] = []
    try:
        with raw_connection.cursor() as cursor:
            table = _Table(cursor, ref, seen_before=seen_before, bare=bare)
            for block in blocks:
                written = table.write(block)
                fates += written + Fates(quarantined=block.rejected.height, bookkeeping=block.bookkeeping)
                rejected += [block.rejected] if block.rejected.height else []
                if fates.quarantined > REJECTED_ROWS_MAX:
                    raise _too_many_rejected(ref, block.rejected)
            _replace_rejected(cursor, ref, rejected)
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise ObjectInvalidError(
            ref.key, f"PostgreSQL cannot hold one of its rows: {error.diag.message_primary}"
        ) from error
    return fates


def _too_many_rejected(ref: ObjectRef, rejected: pl.DataFrame) -> ObjectInvalidError:
    reason = f"more than {REJECTED_ROWS_MAX} rows cannot be read; the last: {rejected['reason'][0]}"
    return ObjectInvalidError(ref.key, reason)


class _Table:
    """``twap_status`` within one transaction, written a block at a time.

    Args:
        cursor: In the transaction.
        ref: The object.
        seen_before: Whether rows of an earlier version of it may be there.
        bare: Whether the first block goes without a savepoint.
    """

    def __init__(
        self, cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, *, seen_before: bool, bare: bool
    ) -> None:
        self._cursor = cursor
        self._ref = ref
        self._are_new = not seen_before
        self._seen_before = seen_before
        self._needs_savepoint = not bare
        self._has_tables = False

    def write(self, block: Block) -> Fates:
        """Write a block's rows the shortest way that there is."""
        fates = self._insert(block) if self._are_new and not block.repeats else None
        if fates is None:
            self._empty_tables()
            fates = None if self._seen_before or block.repeats else self._replace(block)
        if fates is None:
            fates = self._merge(block.text, block.rows, repeats=block.repeats)
        self._are_new = fates.inserted == block.rows
        self._needs_savepoint = True
        return fates

    def _empty_tables(self) -> None:
        make, empty = (MAKE_LOOKUP_TABLES, MAKE_STAGING_TABLES), (EMPTY_LOOKUP_TABLES, EMPTY_STAGING_TABLES)
        for statement in empty if self._has_tables else make:
            self._cursor.execute(statement)
        self._has_tables = True

    def _insert(self, block: Block) -> Fates | None:
        """COPY straight into the table; None, and nothing written, where an event is there already."""
        if not self._needs_savepoint:
            self._copy(block.text, "twap_status")
            return Fates(inserted=block.rows)
        with suppress(psycopg.errors.UniqueViolation), self._cursor.connection.transaction():
            self._copy(block.text, "twap_status")
            return Fates(inserted=block.rows)
        return None

    def _replace(self, block: Block) -> Fates | None:
        """COPY what is new or replaces a stored row straight into the table, and merge the rest.

        None, and nothing written, where another loader came between.
        """
        found = look_up(self._cursor, self._ref, block.events)
        straight, rest = _parted(block.text, found.new | found.replacing)
        fates = None
        with suppress(psycopg.errors.UniqueViolation), self._cursor.connection.transaction() as savepoint:
            if make_room(self._cursor) < len(found.replacing):
                raise psycopg.Rollback(savepoint)
            self._copy(straight, "twap_status")
            fates = Fates(inserted=len(found.new), updated=len(found.replacing))
        return fates and fates + self._merge(rest, block.rows - fates.held, repeats=False)

    def _merge(self, text: bytes, rows: int, *, repeats: bool) -> Fates:
        """Go through a staging table: each event finds its place under rule V9."""
        if not rows:
            return Fates()
        self._copy(text, STAGING_TABLE)
        return merge_staged(self._cursor, rows=rows, repeats=repeats)

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
    cursor.execute("DELETE FROM twap_status_rejected WHERE s3_object_key = %s", (ref.key,))
    if rejected:
        frame = pl.concat(rejected).with_columns(pl.lit(ref.key).alias("s3_object_key"))
        columns = ("s3_object_key", "row_number", "raw_row", "reason")
        with cursor.copy(f"COPY twap_status_rejected ({', '.join(columns)}) FROM STDIN") as copy:
            copy.write(copy_text(frame.select(columns), json=("raw_row",)))
