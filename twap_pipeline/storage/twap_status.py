"""An object's rows into ``twap_status``, under rule V9, and the count of fates.

Of several events with one (twap_id, wallet, ts) one wins, whatever the order, repetition or concurrency of loading:
the higher place in the order's life, then the newer object (LastModified, then key), then the later row.

The fast way is COPY straight into the table, block by block; PostgreSQL's own unique check tells when an event is there
already. That block, and those behind it until one is all new again, go through a staging table: see `merging`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC

import polars as pl
import psycopg
from psycopg import sql
from sqlalchemy import Connection

from twap_pipeline.domain.normalize import Normalized
from twap_pipeline.domain.object_ref import ObjectRef
from twap_pipeline.domain.quality import Fates
from twap_pipeline.domain.twap_status import KEY_COLUMNS, ROW_COLUMNS
from twap_pipeline.errors import ObjectInvalidError
from twap_pipeline.failpoints import failpoint
from twap_pipeline.storage.copy_text import copy_text
from twap_pipeline.storage.merging import (
    COPIED_COLUMNS,
    EMPTY_STAGING_TABLE,
    MAKE_STAGING_TABLE,
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
        rows: Their number.
        repeats: Whether several of them are of one event.
        rejected: Rows that could not be read.
        bookkeeping: Number of the vendor's bookkeeping rows.
    """

    text: bytes
    rows: int
    repeats: bool
    rejected: pl.DataFrame
    bookkeeping: int


def as_block(ref: ObjectRef, portion: Normalized) -> Block:
    """Return a portion of an object's rows, ready to be written."""
    rows = portion.rows.sort(*KEY_COLUMNS, maintain_order=True)
    full = rows.select(
        *ROW_COLUMNS,
        s3_object_key=pl.lit(ref.key),
        s3_last_modified=pl.lit(f"{ref.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"),
    )
    text = copy_text(full, plain=_PLAIN, json=("raw_payload",))
    repeats = rows.select(pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in KEY_COLUMNS).any()).item()
    return Block(text, rows.height, bool(repeats), portion.rejected, portion.bookkeeping)


def load_rows(connection: Connection, ref: ObjectRef, blocks: Iterable[Block], *, seen_before: bool) -> Fates:
    """Write an object's rows within the caller's transaction and return what became of them.

    Args:
        connection: In a transaction; nothing is committed here.
        ref: The object.
        blocks: All of its rows.
        seen_before: Whether a version of this object was loaded already, so that its events are probably there.

    Raises:
        ObjectInvalidError: More than `REJECTED_ROWS_MAX` rows cannot be read, or PostgreSQL refuses a value.
    """
    raw_connection = connection.connection.driver_connection
    if not isinstance(raw_connection, psycopg.Connection):
        raise TypeError("rows are loaded through psycopg 3 (postgresql+psycopg)")
    fates = Fates()
    rejected: list[pl.DataFrame] = []
    try:
        with raw_connection.cursor() as cursor:
            table = _Table(cursor)
            are_new = not seen_before
            for block in blocks:
                written = table.insert(block) if are_new and not block.repeats else None
                if written is None:
                    written = table.merge(block)
                are_new = written.inserted == block.rows
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
    """``twap_status`` within one transaction, written a block at a time."""

    def __init__(self, cursor: "psycopg.Cursor[tuple[object, ...]]") -> None:
        self._cursor = cursor
        self._has_staging = False

    def insert(self, block: Block) -> Fates | None:
        """COPY straight into the table; None, and nothing written, where an event is there already or comes twice."""
        try:
            with self._cursor.connection.transaction():
                self._copy(block, "twap_status")
        except psycopg.errors.UniqueViolation:
            return None
        return Fates(inserted=block.rows)

    def merge(self, block: Block) -> Fates:
        """Go through a staging table: each event finds its place under rule V9."""
        self._cursor.execute(EMPTY_STAGING_TABLE if self._has_staging else MAKE_STAGING_TABLE)
        self._has_staging = True
        self._copy(block, STAGING_TABLE)
        return merge_staged(self._cursor, rows=block.rows, repeats=block.repeats)

    def _copy(self, block: Block, table: str) -> None:
        if block.rows:
            columns = sql.SQL(", ").join(map(sql.Identifier, COPIED_COLUMNS))
            with self._cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)) as copy:
                copy.write(block.text)
                failpoint("mid-copy")


def _replace_rejected(
    cursor: "psycopg.Cursor[tuple[object, ...]]", ref: ObjectRef, rejected: list[pl.DataFrame]
) -> None:
    cursor.execute("DELETE FROM twap_status_rejected WHERE s3_object_key = %s", (ref.key,))
    if rejected:
        frame = pl.concat(rejected).with_columns(pl.lit(ref.key).alias("s3_object_key"))
        columns = ("s3_object_key", "row_number", "raw_row", "reason")
        with cursor.copy(f"COPY twap_status_rejected ({', '.join(columns)}) FROM STDIN") as copy:
            copy.write(copy_text(frame.select(columns), json=("raw_row",)))
